// ---- select.js: which rows, in which order, and which of them nothing beats (no document here) --

const UNNAMED = 'not stated'; // of a choice: rows that say nothing about it

/** The choices: name in the state, and a row's value. */
const FACETS = {
  task: (row) => row.board.task,
  data: (row) => row.board.dataset || UNNAMED,
  origin: (row) => row.board.origin,
  protocol: (row) => row.board.protocol || UNNAMED,
  pre: (row) => row.recipe.pretraining || UNNAMED,
  head: (row) => row.recipe.head || UNNAMED,
};

/** Parameters as the budget counts them; undefined where nobody says. */
function parametersOf(row, which) {
  if (which === 'backbone') return row.size.backbone_parameters;
  if (which === 'total') return row.size.parameters;
  return row.size.parameters ?? row.size.backbone_parameters; // 'known'
}

/** The budget in parameters, null where none is set or it is no number above 0. */
function budgetOf(state) {
  const value = Number(state.budget);
  return state.budget.trim() !== '' && value > 0 ? value * 1e6 : null;
}

/** Text as the search compares it: "D²-MAE" is found by "d2-mae", "é" by "e", any dash by "-". */
function plainText(text) {
  return text.normalize('NFKD').replace(/\p{M}/gu, '').replace(/[\u2010-\u2015\u2212]/g, '-')
    .toLowerCase();
}

/** What the search looks through, made once a row. */
function searchText(row) {
  if (row.text === undefined) {
    const board = row.board;
    const parts = [row.model, row.variant, row.key, row.source, row.url, row.date];
    parts.push(row.config, row.checkpoint, row.sha256, row.commit, row.environment?.machine);
    parts.push(board.dataset, board.split, board.protocol, board.taskTitle, board.place);
    parts.push(...Object.values(row.recipe), ...row.remarks);
    for (const speed of row.speeds) {
      parts.push(deviceText(speed), speed.source, speed.of, speed.runtime, speed.precision);
    }
    row.text = plainText(parts.filter(Boolean).join('\n'));
  }
  return row.text;
}

/** Rows that pass all choices, and of each choice how many rows each of its values would give. */
function selectRows(rows, state) {
  const names = Object.keys(FACETS);
  const counts = Object.fromEntries(names.map((name) => [name, new Map()]));
  const words = plainText(state.q).split(/\s+/).filter(Boolean);
  const budget = budgetOf(state);
  const shown = [];
  let unknown = 0;
  for (const row of rows) {
    if (words.length && !words.every((word) => searchText(row).includes(word))) continue;
    const failed = names.filter((name) => !passes(row, state, name));
    if (budget !== null) {
      const size = parametersOf(row, state.of);
      if (size === undefined && failed.length === 0) unknown += 1;
      if (size === undefined ? !state.unknown : size > budget) continue;
    }
    // A row that fails one choice alone would come back by that choice: it counts there.
    if (failed.length === 0) shown.push(row);
    for (const name of failed.length === 0 ? names : failed.length === 1 ? failed : []) {
      const value = FACETS[name](row);
      counts[name].set(value, (counts[name].get(value) || 0) + 1);
    }
  }
  return { shown, counts, unknown };
}

/** Whether a row has what is chosen; where nothing is, all rows do. */
function passes(row, state, name) {
  return state[name] === '' || FACETS[name](row) === state[name];
}

/** A row's value in a column; undefined where it has none. */
function valueIn(row, column) {
  if (column.startsWith('score:')) return row.scores[column.slice(6)]?.mean;
  switch (column) {
    case 'rank': return row.rank;
    case 'model': return row.model.toLowerCase();
    case 'pre': return row.recipe.pretraining?.toLowerCase();
    case 'head': return row.recipe.head?.toLowerCase();
    case 'backbone': return row.size.backbone_parameters;
    case 'total': return row.size.parameters;
    case 'setup': return row.setup?.toLowerCase();
    default: return undefined;
  }
}

/** Rows of one board in order of a column, 'up' or 'down'. What has no value comes last, and so
 * do incomplete rows where scores are compared. Equal ones keep the board's order. */
function sortRows(rows, column, direction) {
  const sign = direction === 'down' ? -1 : 1;
  const last = (row) =>
    valueIn(row, column) === undefined || (row.incomplete && column.startsWith('score:'));
  return [...rows].sort((a, b) => {
    if (last(a) !== last(b)) return last(a) ? 1 : -1;
    const [x, y] = [valueIn(a, column), valueIn(b, column)];
    if (x === y || x === undefined || y === undefined) return a.order - b.order;
    return x < y ? -sign : sign;
  });
}

/** Indices of the points {x, y} that no other point beats: one beats another if it is at least as
 * good in both and better in one. Less x is better; more y is, or less where `higher` is false.
 * Equal points are on the front together. */
function paretoFront(points, higher) {
  const gain = (i) => (higher ? points[i].y : -points[i].y);
  const order = points.map((_, i) => i);
  order.sort((a, b) => points[a].x - points[b].x || gain(b) - gain(a));
  const front = [];
  let best = -Infinity; // of all points with less x
  let start = 0;
  while (start < order.length) {
    const top = gain(order[start]); // the best of this x comes first
    let end = start;
    while (end < order.length && points[order[end]].x === points[order[start]].x) {
      if (gain(order[end]) === top && top > best) front.push(order[end]);
      end += 1;
    }
    best = Math.max(best, top);
    start = end;
  }
  return front;
}
