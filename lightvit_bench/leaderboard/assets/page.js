// ---- page.js: the state, and what follows from each change of it --------------------------------

const data = readData();
const rowOf = new Map(data.rows.map((row) => [row.key, row]));
let state = stateFromHash(location.hash);
let view = { shown: [], counts: {}, unknown: 0 };

const hrefOf = (row) => stateToHash({ ...state, row: row.key });

/** The choices' names for people, where values are keys. */
const NAMES = {
  task: (value) => data.tasks[value]?.title || value,
  origin: (value) => ORIGINS[value] || value,
};

/** Give a select its options and its value, touching the document only where they differ. */
function fillSelect(select, options, value) {
  const made = JSON.stringify(options);
  if (select.made !== made) {
    select.made = made;
    select.replaceChildren(...options.map(([id, text]) => el('option', { value: id }, text)));
  }
  select.value = value;
}

let leaving = false; // a step back in the history was asked for and has not come about

/** Note the state in the address bar: as a new entry of the history, or in place of the last. An
 * entry made by opening a row says so, for closing the row steps back from it. */
function note(inPlace = false) {
  if (leaving) return; // noted on arrival
  const address = location.href.split('#')[0] + stateToHash(state);
  if (address === location.href) return;
  if (inPlace) history.replaceState(history.state, '', address);
  else history.pushState({ opened: state.row !== '' }, '', address);
}

/** Change the state, note it, and show what follows. `typed` changes replace the entry in the
 * history: one for each letter would bury the way back. */
function change(patch, typed = false) {
  state = { ...state, ...patch };
  note(typed);
  show(Object.keys(patch));
}

const CHART = new Set(['chart', 'x', 'y']);

function show(changed) {
  const only = (names) => changed.every((name) => names.has(name));
  if (only(new Set(['row']))) return showDetails();
  if (only(CHART)) return showChart();
  view = selectRows(data.rows, state);
  showChoices();
  showCount();
  fillBoards(tables, view.shown, state, hrefOf);
  showChart();
  showDetails();
  return undefined;
}

function showChart() {
  drawChart(data, view.shown, state, (row) => change({ row: row.key }), hrefOf);
}

function showChoices() {
  for (const name of Object.keys(FACETS)) {
    const counts = view.counts[name];
    const values = [...counts.keys()];
    if (state[name] && !counts.has(state[name])) values.push(state[name]);
    const label = NAMES[name] || ((value) => value);
    values.sort((a, b) => label(a).localeCompare(label(b)));
    if (name === 'task') showTasks(values, counts);
    else {
      const options = values.map((value) => [value, `${label(value)} (${counts.get(value) || 0})`]);
      fillSelect(byId(name), [['', 'all'], ...options], state[name]);
      byId(name).classList.toggle('set', state[name] !== '');
    }
  }
  for (const name of ['q', 'budget', 'of']) {
    if (byId(name).value !== state[name]) byId(name).value = state[name];
  }
  byId('budget').setAttribute('aria-invalid', String(state.budget !== '' && budgetOf(state) === null));
  byId('unknown').checked = state.unknown !== '';
  byId('unknown-label').hidden = budgetOf(state) === null || view.unknown === 0;
  byId('unknown-text').textContent = `keep ${plural(view.unknown, 'row')} whose parameters nobody says`;
}

/** The tasks as buttons of one choice, in the page's order. */
function showTasks(values, counts) {
  const order = Object.keys(data.tasks);
  const all = ['', ...values.sort((a, b) => order.indexOf(a) - order.indexOf(b))];
  const made = JSON.stringify([all, all.map((value) => counts.get(value))]);
  const box = byId('tasks');
  if (box.made !== made) {
    const focused = box.contains(document.activeElement) ? document.activeElement.value : null;
    box.made = made;
    box.replaceChildren(...all.map((value) => el('label', {},
      el('input', { type: 'radio', name: 'task', value,
        onchange: () => change({ task: value, data: '', protocol: '' }) }),
      el('span', {}, value === '' ? 'All tasks' : NAMES.task(value),
        value === '' ? null : el('small', {}, number(counts.get(value) || 0))))));
    if (focused !== null) box.querySelector(`[value="${CSS.escape(focused)}"]`)?.focus();
  }
  for (const input of box.querySelectorAll('input')) input.checked = input.value === state.task;
}

function showCount() {
  const boards = new Set(view.shown.map((row) => row.board)).size;
  const all = data.rows.length;
  const none = all ? `No row of ${number(all)} fits.` : 'The leaderboard has no rows.';
  byId('count').textContent = view.shown.length === 0
    ? none
    : `${view.shown.length < all ? `${number(view.shown.length)} of ` : ''}${plural(all, 'row')} in `
      + plural(boards, 'table');
  byId('reset').hidden = stateToHash({ ...state, row: '', chart: '', x: '', y: '', all: new Map() }) === '';
}

/** Open or close the details as the state says. */
function showDetails() {
  const dialog = byId('details');
  const row = rowOf.get(state.row);
  document.title = row ? `${rowName(row)} · ${TITLE}` : TITLE;
  if (!row) {
    if (state.row) byId('count').textContent = `There is no row "${state.row}".`;
    if (dialog.open) dialog.close();
    return;
  }
  if (dialog.open && dialog.shows === row.key) return;
  dialog.shows = row.key;
  fillDetails(row, () => dialog.close());
  if (!dialog.open) {
    dialog.from = document.activeElement?.closest('#plot, #front, #boards')?.id;
    dialog.showModal();
  }
  dialog.scrollTop = 0;
  byId('details-title').focus();
}

/** The details were closed: leave the entry that opening them made, so that Back does not open them
 * again, and give the focus back. A page opened by a link to the row has no such entry. */
function closed() {
  const dialog = byId('details');
  if (dialog.open) return; // again, already
  if (state.row) {
    state = { ...state, row: '' };
    if (history.state?.opened) {
      leaving = true;
      history.back();
    } else note(true);
    show(['row']);
  }
  // The browser gives the focus back by itself, but not to what was hidden or drawn anew meanwhile;
  // the focus is then nowhere, or still in what was closed.
  const at = document.activeElement;
  if (!dialog.from || (at !== document.body && !dialog.contains(at))) return;
  if (dialog.from === 'plot') byId('plot').focusRow?.(dialog.shows);
  else document.querySelector(`#${dialog.from} [data-row="${CSS.escape(dialog.shows)}"]`)?.focus();
}

/** Another order of one table: best or first first, then the other way, then by rank again. */
function sortBy(board, column) {
  const sort = new Map(state.sort);
  const [id, direction] = sort.get(board.id) || [];
  if (column.id === 'rank') sort.delete(board.id);
  else if (id !== column.id) sort.set(board.id, [column.id, column.first]);
  else if (direction === column.first) sort.set(board.id, [id, direction === 'up' ? 'down' : 'up']);
  else sort.delete(board.id);
  changeBoard(board, { sort });
}

/** More rows of a table; where all are shown, the first ones again. */
function showMore(board) {
  const all = new Map(state.all);
  const rows = view.shown.filter((row) => row.board === board).length;
  const shown = all.get(board.id) || FIRST_ROWS;
  if (shown < rows) all.set(board.id, shown + MORE_ROWS);
  else all.delete(board.id);
  changeBoard(board, { all });
}

/** A change that one table alone shows. */
function changeBoard(board, patch) {
  state = { ...state, ...patch };
  note();
  const rows = view.shown.filter((row) => row.board === board);
  fillBoard(tables.get(board.id), rows, state, hrefOf);
  showCount();
}

/** Light or dark: as the system says until the button is used; then as chosen, if it can be kept. */
function setUpTheme() {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const dark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : system.matches);
  const label = () => {
    byId('theme').textContent = dark() ? 'Light' : 'Dark';
    byId('theme').setAttribute('aria-label', `Use ${dark() ? 'light' : 'dark'} colours`);
  };
  try {
    root.dataset.theme = localStorage.getItem('lightvit-theme') || '';
  } catch (error) { /* a browser that keeps nothing */ }
  byId('theme').addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    try {
      localStorage.setItem('lightvit-theme', root.dataset.theme);
    } catch (error) { /* for this visit alone, then */ }
    label();
  });
  system.addEventListener('change', label);
  label();
}

function setUpControls() {
  for (const name of ['data', 'origin', 'protocol', 'pre', 'head', 'of']) {
    byId(name).addEventListener('change', (event) => change({ [name]: event.target.value }));
  }
  for (const name of ['q', 'budget']) {
    byId(name).addEventListener('input', (event) => change({ [name]: event.target.value }, true));
  }
  byId('unknown').addEventListener('change', (event) => (
    change({ unknown: event.target.checked ? '1' : '' })));
  byId('chart-board').addEventListener('change', (event) => (
    change({ chart: event.target.value, x: '', y: '' })));
  byId('chart-x').addEventListener('change', (event) => change({ x: event.target.value }));
  byId('chart-y').addEventListener('change', (event) => change({ y: event.target.value }));
  byId('reset').addEventListener('click', () => {
    change({ ...freshState(), chart: state.chart, x: state.x, y: state.y });
    byId('q').focus();
  });
  byId('more').addEventListener('click', () => {
    const open = byId('filters').classList.toggle('open');
    byId('more').setAttribute('aria-expanded', String(open));
  });
  byId('skip').addEventListener('click', (event) => {
    event.preventDefault(); // the address bar holds the view
    byId('boards').focus();
    byId('boards').scrollIntoView();
  });
  // A click anywhere in a row opens it, but not the one that ends a selection of text.
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-row]')
      || (getSelection().isCollapsed && !event.target.closest('a, button')
        && event.target.closest('#boards tbody tr')?.querySelector('a[data-row]'));
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    link.focus({ preventScroll: true }); // to which closing returns
    change({ row: link.dataset.row });
  });
  const dialog = byId('details');
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', closed);
  // Back, forward, and an address typed by hand. What is the same stays as it is, focus included.
  const told = (value) => JSON.stringify([...value]);
  const restore = () => {
    if (leaving || stateToHash(state) === location.hash) return;
    const before = state;
    state = stateFromHash(location.hash);
    show(Object.keys(state).filter((name) => told(state[name]) !== told(before[name])));
  };
  addEventListener('popstate', () => {
    if (!leaving) restore();
    else {
      leaving = false;
      note(); // where something else was done on the way
    }
  });
  addEventListener('hashchange', restore);
  let width = innerWidth;
  addEventListener('resize', () => {
    if (innerWidth !== width) requestAnimationFrame(showChart);
    width = innerWidth;
  });
}

const TITLE = document.title;
if (innerWidth < 700) byId('guide').open = false; // a phone's screen is short; one tap opens it
setUpTheme();
setUpControls();
const tables = buildBoards(data, sortBy, showMore);
for (const id of ['filters', 'chart']) byId(id).hidden = false;
byId('facts').append(facts());
show(Object.keys(state));
// For tests and the curious: the functions that compute, without the page.
window.leaderboard = Object.freeze({ paretoFront, selectRows, sortRows, freshState, rows: data.rows });

/** How many rows there are of each origin. */
function facts() {
  const count = (origin) => data.rows.filter((row) => row.board.origin === origin).length;
  const some = Object.keys(ORIGINS).filter(count);
  return el('ul', {}, some.map((origin) => el('li', {}, el('b', {}, number(count(origin))), ' ',
    badge(origin))));
}
