// ---- tables.js: one table a board ---------------------------------------------------------------

const FIRST_ROWS = 50; // of a board, until somebody asks for more
const MORE_ROWS = 500; // at a time: a table of 10,000 takes a browser seconds
const SLICE_MS = 12; // of work, then the browser may paint and listen

/** The columns that a board's rows fill: { id, title, first: direction of the first click }. */
function columnsOf(board) {
  const some = (test) => board.rows.some(test);
  const columns = [{ id: 'rank', title: '#' }, { id: 'model', title: 'Model', first: 'up' }];
  const heads = some((row) => row.recipe.head);
  if (some((row) => row.recipe.pretraining || row.recipe.fine_tuning)) {
    const title = heads ? 'Pre-training, head' : 'Pre-training';
    columns.push({ id: 'pre', title, first: 'up', cell: preCell });
  } else if (heads) {
    columns.push({ id: 'head', title: 'Head', first: 'up', cell: (row) => row.recipe.head });
  }
  if (some((row) => row.setup)) {
    columns.push({ id: 'setup', title: 'Set-up', first: 'up', cell: (row) => row.setup });
  }
  board.metrics.forEach((metric, i) => {
    if (!some((row) => row.scores[metric.key])) return;
    columns.push({
      id: `score:${metric.key}`, title: titled(metric), first: metric.higher ? 'down' : 'up',
      kind: i === 0 ? 'figure main' : 'figure', cell: (row) => scoreCell(row, metric),
    });
  });
  const figure = (id, title, value, text) => {
    if (!some((row) => value(row) !== undefined)) return;
    const cell = (row) => (value(row) === undefined ? null : text(value(row)));
    columns.push({ id, title, first: 'up', kind: 'figure', cell });
  };
  figure('backbone', 'Backbone', (row) => row.size.backbone_parameters, millions);
  figure('total', 'Total', (row) => row.size.parameters, millions);
  if (some((row) => row.size.macs || row.size.backbone_macs)) {
    columns.push({ id: 'macs', title: 'MACs', kind: 'figure', cell: macsCell });
  }
  if (some((row) => row.speeds.length)) {
    columns.push({ id: 'speed', title: 'Speed', cell: speedCell });
  }
  const told = new Set(board.rows.map(fromText)); // one for all is said above the table
  if (told.size > 1) {
    const title = board.origin === 'published' ? 'Source' : 'Date';
    columns.push({ id: 'from', title, cell: (row) => small(fromText(row)) });
  } else board.from = [...told].join();
  return columns;
}

/** What stands under a cell's first line, smaller. */
const small = (...text) => el('small', {}, ...text);

function preCell(row) {
  const { pretraining, fine_tuning: tuned, head, schedule } = row.recipe;
  if (!pretraining && !tuned && !head) return null;
  // "400 iterations, batch 8, ...": the same head for another time is another row
  const trained = [head, head && schedule && schedule.split(', ')[0]].filter(Boolean).join(' · ');
  return [pretraining || '–', tuned ? small(`then ${tuned}`) : null,
    trained ? small(trained) : null];
}

function scoreCell(row, metric) {
  const score = row.scores[metric.key];
  if (!score) return null;
  const std = spread(score, metric);
  return [
    el('span', { class: 'mean' }, mean(score, metric, row.board.origin)),
    std ? small(`${std}, n = ${score.runs}`) : null,
  ];
}

/** Of all that is computed where that is known, else of the backbone; for which input. */
function macsCell(row) {
  const { macs: all, backbone_macs: part, input } = row.size;
  if (!all && !part) return null;
  const at = input === NOT_STATED ? 'input not stated' : input;
  return [macs(all || part), small(all ? at : `backbone, ${at}`)];
}

function speedCell(row) {
  const [speed] = row.speeds;
  if (!speed) return null;
  const others = row.speeds.length - 1;
  return [speedText(speed), small(deviceText(speed), others ? `, ${others} more` : '')];
}

const fromText = (row) => row.source || (row.date || '').slice(0, 10);

/** The name, a link to the details, and below it what a reader must know. */
function modelCell(row, href) {
  const own = row.remarks.filter((text) => !row.board.remarks.includes(text));
  const more = own.length - 1;
  return [
    el('a', { href, class: 'model', 'data-row': row.key }, row.model),
    row.variant ? el('span', { class: 'variant' }, row.variant) : null,
    row.incomplete
      ? el('span', { class: 'tag' }, `incomplete: ${number(row.evaluated ?? 0)} of `
        + `${row.expected === undefined || row.expected === null ? '?' : number(row.expected)}`)
      : null,
    own.length
      ? el('span', { class: 'remark' }, el('span', { class: 'unseen' }, 'Remark: '),
        own[0], more ? ` (+ ${plural(more, 'remark')})` : '')
      : null,
  ];
}

function rowElement(row, columns, href) {
  const cells = columns.map((column, i) => {
    const attributes = { role: 'cell', class: column.kind || column.id, 'data-label': column.title };
    if (column.id === 'rank') {
      const shown = row.rank ? String(row.rank) : el('span', { title: 'not ranked' }, '–');
      return el('td', { ...attributes, class: row.rank === 1 ? 'rank first' : 'rank' }, shown);
    }
    if (column.id === 'model') {
      return el('th', { class: 'who', scope: 'row', role: 'rowheader' }, modelCell(row, href));
    }
    const content = column.cell(row);
    return content === null || content === undefined
      ? el('td', { ...attributes, class: `${attributes.class} none` }, '–')
      : el('td', attributes, content);
  });
  return el('tr', { role: 'row', class: row.incomplete ? 'incomplete' : null }, cells);
}

/** All sections and empty tables, made once. Gives board id -> its elements. */
function buildBoards(data, onSort, onAll) {
  const made = new Map();
  const sections = new Map();
  data.boards.forEach((board, i) => {
    if (!sections.has(board.task)) {
      const id = `task-${board.task}`;
      const section = el('section', { class: 'task', 'aria-labelledby': id, hidden: true },
        el('h2', { id }, board.taskTitle));
      sections.set(board.task, section);
      byId('boards').append(section);
    }
    const section = sections.get(board.task);
    const columns = columnsOf(board);
    const heads = columns.map((column) => {
      if (!column.first && column.id !== 'rank') {
        return el('th', { scope: 'col', role: 'columnheader', class: column.kind }, column.title);
      }
      const label = column.id === 'rank' ? { 'aria-label': 'rank' } : {};
      const button = el('button', { type: 'button', onclick: () => onSort(board, column), ...label },
        column.title);
      return el('th', { scope: 'col', role: 'columnheader', class: column.kind }, button);
    });
    const body = el('tbody', { role: 'rowgroup' });
    const shown = el('span', { class: 'shown' });
    const all = el('button', { type: 'button', class: 'quiet all', hidden: true,
      onclick: () => onAll(board) });
    const title = el('h3', { id: `board-${i}` }, boardName(board));
    const about = el('p', { class: 'about' }, badge(board.origin),
      board.protocol ? el('code', {}, board.protocol) : null,
      board.place ? el('span', { class: 'place' }, board.place) : null, shown,
      board.from ? el('span', {}, board.from) : null);
    const shared = board.remarks.length
      ? el('details', { class: 'remark shared' },
        el('summary', {}, plural(board.remarks.length, 'remark'), ' on all rows: ', board.remarks[0]),
        el('ul', {}, board.remarks.slice(1).map((text) => el('li', {}, text))))
      : null;
    const table = el('table', { role: 'table' },
      el('caption', { class: 'unseen' }, boardWords(board)),
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, heads)), body);
    const rows = el('div', { class: 'rows', role: 'region', tabindex: '0',
      'aria-labelledby': `board-${i}` }, table);
    const root = el('article', { class: 'board', hidden: true, 'data-board': board.id },
      ...[title, about, shared, rows, all].filter(Boolean));
    section.append(root);
    made.set(board.id, { board, columns, heads, body, shown, all, root, section });
  });
  return made;
}

/** Say in a table's head what it is sorted by. */
function markSort(made, sort) {
  const { columns, heads } = made;
  columns.forEach((column, i) => {
    const by = sort && sort[0] === column.id;
    if (by) heads[i].setAttribute('aria-sort', sort[1] === 'up' ? 'ascending' : 'descending');
    else if (!sort && column.id === 'rank') heads[i].setAttribute('aria-sort', 'ascending');
    else heads[i].removeAttribute('aria-sort');
  });
}

/** Fill a board's table with rows that are shown. `hrefOf` gives a row's link. */
function fillBoard(made, rows, state, hrefOf) {
  const { board, columns, body, shown, all, root } = made;
  const sort = state.sort.get(board.id);
  const known = sort && columns.some((column) => column.id === sort[0] && column.first);
  const ordered = known ? sortRows(rows, ...sort) : rows;
  const some = ordered.slice(0, state.all.get(board.id) || FIRST_ROWS);
  body.replaceChildren(...some.map((row) => rowElement(row, columns, hrefOf(row))));
  markSort(made, known ? sort : null);
  shown.textContent = rows.length === board.rows.length
    ? plural(rows.length, 'row')
    : `${number(rows.length)} of ${plural(board.rows.length, 'row')}`;
  all.hidden = rows.length <= FIRST_ROWS;
  const left = rows.length - some.length;
  const more = left > MORE_ROWS ? `Show ${MORE_ROWS} more rows` : `Show all ${number(rows.length)} rows`;
  const fewer = `Show the first ${FIRST_ROWS} alone`;
  all.textContent = left ? `${more} (${number(some.length)} are shown)` : fewer;
  root.removeAttribute('aria-busy');
}

let slice = 0; // the timer of what is still to be filled

/** Show the boards of `shown`; fill those that can be seen first, the others piece by piece. */
function fillBoards(tables, shown, state, hrefOf) {
  const rowsOf = new Map();
  for (const row of shown) {
    const list = rowsOf.get(row.board.id);
    if (list) list.push(row);
    else rowsOf.set(row.board.id, [row]);
  }
  const jobs = [];
  const sections = new Map();
  for (const [id, made] of tables) {
    const rows = rowsOf.get(id);
    made.root.hidden = !rows;
    sections.set(made.section, sections.get(made.section) || Boolean(rows));
    if (rows) {
      made.root.setAttribute('aria-busy', 'true');
      jobs.push(() => fillBoard(made, rows, state, hrefOf));
    }
  }
  for (const [section, any] of sections) section.hidden = !any;
  clearTimeout(slice);
  const work = () => {
    const start = performance.now();
    while (jobs.length && performance.now() - start < SLICE_MS) jobs.shift()();
    if (jobs.length) slice = setTimeout(work);
  };
  work();
}
