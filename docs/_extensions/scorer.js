// What a search finds first: pages for readers, then the reference, then the package inside
var Scorer = {
  score: ([page, , , , score]) => {
    if (/^(CHANGELOG|CONTRIBUTING|docs\/api\/(inside|devices))/.test(page)) return score - 30;
    return /^docs\/(?!api)/.test(page) ? score + 10 : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
