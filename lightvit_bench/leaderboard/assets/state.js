// ---- state.js: what is looked at, in the address bar --------------------------------------------

/** What the page shows before anybody chose. `sort`: board -> [column, 'up' | 'down']; `all`:
 * board -> how many rows of it, where somebody asked for more than the first. */
const DEFAULTS = {
  task: '', data: '', origin: '', protocol: '', pre: '', head: '',
  budget: '', of: 'backbone', unknown: '', q: '',
  chart: '', x: '', y: '', row: '',
};

function freshState() {
  return { ...DEFAULTS, sort: new Map(), all: new Map() };
}

/** As in a query, but with "/" and "@" left readable. */
function encode(text) {
  return encodeURIComponent(text).replace(/%2F/g, '/').replace(/%40/g, '@').replace(/%20/g, '+');
}

function stateToHash(state) {
  const parts = [];
  for (const name of Object.keys(DEFAULTS)) {
    if (state[name] !== DEFAULTS[name]) parts.push(`${name}=${encode(state[name])}`);
  }
  for (const [board, [column, direction]] of state.sort) {
    parts.push(`sort=${encode(board)}~${encode(column)}~${direction}`);
  }
  for (const [board, count] of state.all) parts.push(`all=${encode(board)}~${count}`);
  return parts.length ? `#${parts.join('&')}` : '';
}

/** The state of a link. What it does not know, or cannot decode, it leaves out. */
function stateFromHash(hash) {
  const state = freshState();
  for (const part of hash.replace(/^#/, '').split('&')) {
    const at = part.indexOf('=');
    const name = part.slice(0, at);
    let value;
    try {
      value = decodeURIComponent(part.slice(at + 1).replace(/\+/g, ' '));
    } catch (error) {
      continue; // a "%" that begins nothing
    }
    if (name === 'sort') {
      const [board, column, direction] = value.split('~');
      if (direction === 'up' || direction === 'down') state.sort.set(board, [column, direction]);
    } else if (name === 'all') {
      const [board, count] = value.split('~');
      if (Number(count) > 0) state.all.set(board, Number(count));
    } else if (Object.prototype.hasOwnProperty.call(DEFAULTS, name)) {
      state[name] = value;
    }
  }
  if (!['backbone', 'total', 'known'].includes(state.of)) state.of = DEFAULTS.of;
  return state;
}
