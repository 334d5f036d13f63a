// ---- base.js: making elements, and numbers as people read them --------------------------------

/** Attributes, listeners (`onclick`) and children for a node. Text stays text, it is never HTML. */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== '') node.append(child);
  }
  return node;
}

function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

const byId = (id) => document.getElementById(id);

const ORIGINS = {
  measured: 'measured here',
  published: 'published elsewhere',
  demo: 'demo',
};
const NOT_NAMED = 'not named';
const NOT_STATED = 'not stated';

function badge(origin) {
  return el('span', { class: `badge ${origin}` }, ORIGINS[origin] || origin);
}

const HUGE = 1e9; // from which digits are no longer written out

/** "1.25e12". A figure of 300 digits would be wider than any page. */
const exponential = (value) => value.toExponential(2).replace('e+', 'e');

/** Thousands apart: 12,345. Digits after the point only where asked for. */
function number(value, decimals = 0) {
  if (Math.abs(value) >= HUGE) return exponential(value);
  return value.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** Three digits that count, none added: 0.22, 5.52, 36, 111. */
function three(value) {
  if (Math.abs(value) >= HUGE) return exponential(value);
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}

const millions = (value) => `${three(value / 1e6)} M`;

function macs(value) {
  return value >= 1e9 ? `${three(value / 1e9)} G` : `${three(value / 1e6)} M`;
}

/** The mean as its metric asks; what others published keeps the digits they printed. */
function mean(score, metric, origin) {
  let decimals = metric.decimals;
  if (origin === 'published') {
    const printed = (String(score.mean).split('.')[1] || '').length;
    decimals = Math.max(decimals, Math.min(printed, 3));
  }
  return number(score.mean, decimals);
}

/** The sample standard deviation, one digit finer where it is below 1; '' of a single run. */
function spread(score, metric) {
  if (score.std === null) return '';
  return `± ${number(score.std, metric.decimals + (score.std < 1 ? 1 : 0))}`;
}

const unit = (metric) => (metric.unit ? ` ${metric.unit}` : '');

function titled(metric) {
  return metric.unit && !metric.title.includes(metric.unit.replace('/s', ''))
    ? `${metric.title} (${metric.unit})`
    : metric.title;
}

function speedText(speed) {
  const { value } = speed;
  const shown = Math.abs(value) >= HUGE ? exponential(value)
    : value.toLocaleString('en-US', { maximumFractionDigits: 2 });
  return `${shown} ${speed.unit}`;
}

function deviceText(speed) {
  if (speed.device !== NOT_NAMED) return speed.device;
  return speed.kind === 'unknown' ? 'device not named' : `${speed.kind.toUpperCase()} not named`;
}

/** An address that may be a link: http or https, nothing that runs; else null. */
function safeUrl(text) {
  try {
    const url = new URL(text);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null;
  } catch (error) {
    return null;
  }
}

/** What the page holds, from its JSON: boards, and rows that know their board. */
function readData() {
  const data = JSON.parse(byId('data-rows').textContent);
  const rows = [];
  for (const board of data.boards) {
    board.metrics = data.tasks[board.task].metrics;
    board.taskTitle = data.tasks[board.task].title;
    board.remarks = sharedRemarks(board.rows);
    for (const row of board.rows) {
      row.board = board;
      row.order = rows.length;
      row.recipe = row.recipe || {};
      row.size = row.size || {};
      row.speeds = row.speeds || [];
      row.remarks = row.remarks || [];
      for (const [key, [value, std, runs]] of Object.entries(row.scores)) {
        row.scores[key] = { mean: value, std, runs };
      }
      rows.push(row);
    }
  }
  return { tasks: data.tasks, boards: data.boards, rows };
}

/** Remarks that all of several rows have: they are said once, above the table. */
function sharedRemarks(rows) {
  if (rows.length < 2) return [];
  return (rows[0].remarks || []).filter((text) => rows.every((row) => row.remarks?.includes(text)));
}

/** A row's name where its columns are not beside it: "ViT-Tiny, D-MAE"; of a time, how it ran. */
function rowName(row) {
  const { pretraining } = row.recipe;
  const known = !pretraining || row.model.toLowerCase().includes(pretraining.toLowerCase());
  const start = pretraining === 'none' ? 'no pre-training' : pretraining;
  return [row.model, row.setup || row.variant, known ? null : start].filter(Boolean).join(', ');
}

/** "ADE20K, val"; the task where there is no data set. */
function boardName(board) {
  return [board.dataset || board.taskTitle, board.split].filter(Boolean).join(', ');
}

/** All that its rows share, in words. */
function boardWords(board) {
  const parts = [boardName(board), board.protocol, ORIGINS[board.origin], board.place];
  return parts.filter(Boolean).join(' · ');
}
