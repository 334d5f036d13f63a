// ---- chart.js: one board's scores against what they cost, and its front ------------------------

const LOG_FROM = 5; // the largest value over the least, from which an axis is logarithmic
const NEAR = 16; // pixels from a point that count as on it
const FRONT_LABELS = 12;
const FIRST_CHART = 'segmentation/ADE20K/ade20k-val@single-scale/published'; // until one is chosen

/** What can be drawn across: sizes, and measured times. Values of another input, device or set-up
 * are another choice: they are not compared. */
function acrossOf(rows) {
  const found = new Map();
  const add = (id, title, unitName, value) => {
    if (!found.has(id)) found.set(id, { id, title, unit: unitName, value });
  };
  const size = (name, by) => (row) => (row.size[name] === undefined ? undefined : row.size[name] / by);
  for (const row of rows) {
    const { board } = row;
    const { input } = row.size;
    if (row.size.backbone_parameters) {
      add('backbone', 'Parameters of the backbone', 'M', size('backbone_parameters', 1e6));
    }
    if (row.size.parameters) add('total', 'Parameters in total', 'M', size('parameters', 1e6));
    for (const [name, title] of [['backbone_macs', 'Backbone MACs'], ['macs', 'MACs']]) {
      if (!row.size[name] || input === NOT_STATED) continue;
      add(`${name}:${input}`, `${title} at ${input}`, 'G',
        (one) => (one.size.input === input ? size(name, 1e9)(one) : undefined));
    }
    if (board.origin === 'published') continue; // whose times are not plotted
    for (const metric of board.metrics) {
      if (metric.unit === 'ms' && row.scores[metric.key]) {
        add(metric.key, `Measured: ${metric.title}`, 'ms', (one) => one.scores[metric.key]?.mean);
      }
    }
    for (const speed of row.speeds.filter(isMeasuredTime)) {
      const id = speedId(speed);
      add(id, `Measured CPU latency: ${id.slice(8)}`, 'ms',
        (one) => one.speeds.find((s) => isMeasuredTime(s) && speedId(s) === id)?.value);
    }
  }
  return [...found.values()];
}

const isMeasuredTime = (speed) => speed.unit === 'ms' && speed.kind === 'cpu' && !speed.source;

function speedId(speed) {
  const threads = speed.threads ? plural(speed.threads, 'thread') : null;
  const parts = [speed.of, speed.device, speed.runtime, speed.precision, threads];
  return `latency:${parts.filter(Boolean).join(', ')}`;
}

/** What can be drawn upwards: accuracy; other figures only where there is none. */
function upOf(rows) {
  const there = rows[0].board.metrics.filter((metric) => rows.some((row) => row.scores[metric.key]));
  const accuracy = there.filter((metric) => metric.higher && metric.unit === '%');
  return accuracy.length ? accuracy : there.filter((metric) => metric.unit !== 'ms');
}

/** Points of complete rows that have both values, and how many rows are left out and why. */
function pointsOf(rows, across, metric) {
  const points = [];
  let incomplete = 0;
  for (const row of rows) {
    const x = across.value(row);
    const y = row.scores[metric.key]?.mean;
    if (x === undefined || y === undefined) continue;
    if (row.incomplete) incomplete += 1;
    else points.push({ row, x, y });
  }
  return { points, incomplete, without: rows.length - points.length - incomplete };
}

/** Round steps over a range, about `count`. */
function linearTicks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((one) => one >= raw);
  const first = Math.ceil(low / step);
  const ticks = [];
  // Counted, for among huge values `first + 1` may be `first` again.
  for (let i = 0; i <= count + 1 && (first + i) * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number(((first + i) * step).toPrecision(12)));
  }
  return ticks;
}

/** 1, 2 and 5 times the powers of ten from 10 ** a to 10 ** b; of a long range about `count` powers
 * alone. */
function logTicks(a, b, count) {
  const ticks = [];
  const [first, last] = [Math.max(Math.floor(a), -307), Math.min(b, 308)]; // what a number can be
  const long = last - first > 5;
  const step = long ? Math.ceil((last - first) / Math.max(4, count)) : 1;
  for (let p = first; p <= last; p += step) {
    for (const k of long ? [1] : [1, 2, 5]) {
      const value = Number((k * 10 ** p).toPrecision(12));
      if (value >= 10 ** a && value <= 10 ** b) ticks.push(value);
    }
  }
  return ticks;
}

/** From values to pixels, with ticks. */
function scaleOf(values, from, to, count) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const log = low > 0 && high / low >= LOG_FROM;
  const f = log ? Math.log10 : (value) => value;
  const pad = (f(high) - f(low)) * 0.07 || (log ? 0.1 : Math.abs(high) * 0.1 || 1);
  const [a, b] = [f(low) - pad, f(high) + pad];
  return {
    log,
    at: (value) => from + ((f(value) - a) / (b - a)) * (to - from),
    ticks: log ? logTicks(a, b, count) : linearTicks(a, b, count),
  };
}

/** Short, for ticks are round: 0.5, 20, 5,000, 2e7. */
function tickText(value) {
  if (Math.abs(value) >= 1e6) return value.toExponential().replace('e+', 'e');
  return Math.abs(value) >= 1000 ? number(value) : String(value);
}

function pointText(point, across, metric) {
  return [
    `${metric.title} ${mean({ mean: point.y }, metric, point.row.board.origin)}${unit(metric)}`,
    `${across.title}: ${three(point.x)} ${across.unit}`,
  ];
}

/** The stairs along the front: what can be had for x or less. */
function stairs(front, x, y, right) {
  const steps = front.map((p, i) => (i ? `H${x.at(p.x)}V${y.at(p.y)}` : `M${x.at(p.x)} ${y.at(p.y)}`));
  return `${steps.join('')}H${right}`;
}

const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

const pen = document.createElement('canvas').getContext('2d'); // measures text, draws none

/** Pixels of a label: a name of "W"s is three times as long as one of "i"s. */
function textWidth(text) {
  pen.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

/** Where a front's names fit: above left, where no point can be, else to the right. */
function placeLabels(front, x, y, width) {
  const boxes = front.map((p) => [x.at(p.x) - 6, y.at(p.y) - 6, x.at(p.x) + 6, y.at(p.y) + 6]);
  const placed = [];
  for (const point of front.slice(0, FRONT_LABELS)) {
    const name = shorten(rowName(point.row), 30);
    const long = textWidth(name);
    const [px, py] = [x.at(point.x), y.at(point.y)];
    const spots = [[px - 8, py - 9, 'end'], [px + 10, py - 9, 'start'], [px + 11, py + 16, 'start'],
      [px - 8, py + 18, 'end']];
    for (const [lx, ly, anchor] of spots) {
      const left = anchor === 'end' ? lx - long : lx;
      const box = [left, ly - 12, left + long, ly + 4];
      if (left < 52 || left + long > width - 4 || ly < 14) continue;
      if (boxes.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3])) continue;
      boxes.push(box);
      placed.push(svg('text', { class: 'label', x: lx, y: ly, 'text-anchor': anchor }, name));
      break;
    }
  }
  return placed;
}

/** The picture. `open` is called with a row that somebody chose. */
function drawPlot(points, front, across, metric, open) {
  const plot = byId('plot');
  const width = Math.max(280, Math.min(plot.clientWidth || 640, 900));
  const height = Math.round(Math.max(270, Math.min(430, width * 0.6)));
  const [right, top, bottom] = [width - 14, 16, height - 44];
  const y = scaleOf(points.map((p) => p.y), bottom - 4, top + 6, 6);
  const left = Math.max(48, ...y.ticks.map((value) => textWidth(tickText(value)) + 12));
  const x = scaleOf(points.map((p) => p.x), left + 6, right - 6, Math.max(3, width / 110));
  for (const point of points) [point.px, point.py] = [x.at(point.x), y.at(point.y)];
  const onFront = new Set(front);
  const dots = points.filter((point) => !onFront.has(point))
    .map((point) => `M${point.px.toFixed(1)} ${point.py.toFixed(1)}h0`).join('');
  const axisText = (title, log, more = '') => ( // a device's name may be of any length
    shorten(title, Math.floor(width / 7.5) - 22) + more + (log ? ' (log scale)' : ''));
  const tip = el('div', { class: 'tip', hidden: true, 'aria-hidden': 'true' });
  const cursor = svg('circle', { class: 'cursor', r: 9, hidden: true, role: 'button',
    tabindex: '-1' });
  const marks = front.map((point) => svg('circle', { class: 'front', cx: point.px, cy: point.py,
    r: 6, tabindex: '0', role: 'button', 'data-row': point.row.key,
    'aria-label': [rowName(point.row), ...pointText(point, across, metric), 'on the front'].join(', ') }));
  const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'group',
    'aria-label': `${metric.title} against ${across.title}, ${plural(points.length, 'row')}; `
      + 'arrow keys go from point to point, Enter opens one' },
    y.ticks.map((v) => [svg('line', { class: 'grid', x1: left, x2: right, y1: y.at(v), y2: y.at(v) }),
      svg('text', { x: left - 8, y: y.at(v) + 4, 'text-anchor': 'end' }, tickText(v))]),
    x.ticks.map((v) => [svg('line', { class: 'grid', x1: x.at(v), x2: x.at(v), y1: top, y2: bottom }),
      svg('text', { x: x.at(v), y: bottom + 17, 'text-anchor': 'middle' }, tickText(v))]),
    svg('text', { class: 'axis', x: right, y: height - 6, 'text-anchor': 'end' },
      axisText(across.title, x.log, ` (${across.unit}) →`)),
    svg('text', { class: 'axis', x: 2, y: 10 }, axisText(`↑ ${titled(metric)}`, y.log)),
    svg('path', { class: 'stairs', d: front.length ? stairs(front, x, y, right) : '' }),
    svg('path', { class: 'dots', d: dots }), placeLabels(front, x, y, width), cursor, marks);

  let current = null;
  const show = (point) => {
    current = point;
    tip.hidden = point === null;
    if (point === null || onFront.has(point)) cursor.setAttribute('hidden', '');
    else cursor.removeAttribute('hidden');
    if (point === null) return;
    const lines = pointText(point, across, metric);
    tip.replaceChildren(el('b', {}, rowName(point.row)), ...lines.map((line) => el('span', {}, line)),
      point.row.remarks.length ? el('em', {}, point.row.remarks[0]) : '');
    tip.style.left = `${Math.max(0, Math.min(point.px + 14, width - 250))}px`;
    tip.style.top = `${point.py + 16}px`;
    cursor.setAttribute('cx', point.px);
    cursor.setAttribute('cy', point.py);
    cursor.setAttribute('aria-label', [rowName(point.row), ...lines].join(', '));
  };
  const nearest = (event) => {
    const box = picture.getBoundingClientRect();
    const [ex, ey] = [event.clientX - box.left, event.clientY - box.top];
    let [best, found] = [NEAR, null];
    for (const point of points) {
      const far = Math.hypot(point.px - ex, point.py - ey);
      if (far < best) [best, found] = [far, point];
    }
    return found;
  };
  picture.addEventListener('pointermove', (event) => {
    if (event.pointerType !== 'touch') show(nearest(event));
  });
  picture.addEventListener('pointerleave', (event) => {
    if (event.pointerType !== 'touch') show(null);
  });
  picture.addEventListener('click', (event) => { // the first tap tells, the second opens
    const point = nearest(event);
    if (point && (event.pointerType !== 'touch' || point === current)) open(point.row);
    else show(point);
  });
  // Keys: Tab stops at the points of the front, arrows go through all, from left to right.
  const inOrder = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  const focus = (point) => {
    show(point);
    (onFront.has(point) ? marks[front.indexOf(point)] : cursor).focus();
  };
  marks.forEach((mark, i) => mark.addEventListener('focus', () => show(front[i])));
  picture.addEventListener('focusout', (event) => {
    if (!picture.contains(event.relatedTarget)) show(null);
  });
  picture.addEventListener('keydown', (event) => {
    if (!current) return;
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const next = step && inOrder[inOrder.indexOf(current) + step];
    if (step || event.key === 'Enter' || event.key === ' ' || event.key === 'Escape') {
      event.preventDefault();
    }
    if (next) focus(next);
    if (event.key === 'Escape') show(null);
    else if (event.key === 'Enter' || event.key === ' ') open(current.row);
  });
  plot.replaceChildren(picture, tip);
  plot.focusRow = (key) => { // where the reader was, when the details close
    const point = points.find(({ row }) => row.key === key);
    if (point) focus(point);
  };
}

/** The front as a table beside the picture, and all points as one below it. */
function frontTable(front, points, across, metric, hrefOf) {
  const row = (point) => el('tr', {},
    el('th', { scope: 'row' }, el('a', { href: hrefOf(point.row), 'data-row': point.row.key },
      rowName(point.row))),
    el('td', {}, three(point.x)),
    el('td', {}, mean({ mean: point.y }, metric, point.row.board.origin)));
  const table = (some, caption) => el('table', { class: 'plain' },
    el('caption', { class: 'unseen' }, caption),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Model'),
      el('th', { scope: 'col' }, across.unit), el('th', { scope: 'col' }, titled(metric)))),
    el('tbody', {}, some.map(row)));
  const rest = el('details', {}, el('summary', {}, `All ${plural(points.length, 'point')} as a table`));
  rest.addEventListener('toggle', () => { // made when somebody looks
    if (!rest.open || rest.childElementCount > 1) return;
    const ordered = [...points].sort((a, b) => a.x - b.x || b.y - a.y);
    rest.append(el('div', { class: 'rows tall', tabindex: '0', role: 'region',
      'aria-label': 'All points' }, table(ordered, 'All points of the chart')));
  });
  byId('front').replaceChildren(el('h3', {}, 'On the front'),
    el('p', { class: 'note' }, 'Rows that nothing drawn beats: no other is as cheap and as good, '
      + 'and better in one of the two.'), table(front, 'Rows on the Pareto front'), rest);
}

/** Draw what the state asks for, of the rows shown. Leaves out boards with nothing to draw. */
function drawChart(data, shown, state, open, hrefOf) {
  const boards = new Map();
  for (const row of shown) {
    if (boards.has(row.board)) boards.get(row.board).push(row);
    else boards.set(row.board, [row]);
  }
  const fit = [...boards].map(([board, rows]) => ({ board, rows, xs: acrossOf(rows), ys: upOf(rows) }))
    .filter(({ xs, ys }) => xs.length && ys.length)
    .map((one) => {
      const drawn = one.xs.map((x) => pointsOf(one.rows, x, one.ys[0]).points);
      const sizes = drawn.map((points) => new Set(points.map((point) => point.x)).size);
      return { ...one, count: Math.max(...drawn.map((points) => points.length)), sizes: Math.max(...sizes) };
    })
    .filter(({ count }) => count > 0);
  byId('chart').hidden = fit.length === 0;
  if (!fit.length) return;
  // Where nothing is chosen and the first choice has no two costs: most of them, of accuracy
  const worth = (one) => one.sizes + (one.ys[0].unit === '%' ? data.rows.length : 0);
  const most = fit.reduce((a, b) => (worth(b) > worth(a) ? b : a));
  const chosen = fit.find(({ board }) => board.id === state.chart)
    || fit.find(({ board, sizes }) => board.id === FIRST_CHART && sizes > 1) || most;
  const { rows, xs, ys } = chosen;
  const metric = ys.find(({ key }) => key === state.y) || ys[0];
  const count = (x) => pointsOf(rows, x, metric).points.length;
  const usable = xs.filter((x) => x.id !== metric.key && count(x) > 0);
  const across = usable.find(({ id }) => id === state.x)
    || usable.reduce((a, b) => (b && count(b) > count(a) ? b : a), usable[0]);
  fillSelect(byId('chart-board'), fit.map(({ board, count: n }) => (
    [board.id, `${boardWords(board)} (${n})`])), chosen.board.id);
  fillSelect(byId('chart-y'), ys.map((one) => [one.key, titled(one)]), metric.key);
  fillSelect(byId('chart-x'), usable.map((one) => [one.id, `${one.title} (${one.unit})`]), across?.id);
  if (!across) {
    byId('plot').replaceChildren();
    byId('front').replaceChildren();
    byId('chart-note').textContent = `No row shown has ${metric.title} and a cost to draw it against.`;
    return;
  }
  const { points, incomplete, without } = pointsOf(rows, across, metric);
  const front = paretoFront(points, metric.higher).map((i) => points[i]);
  drawPlot(points, front, across, metric, open);
  frontTable(front, points, across, metric, hrefOf);
  const notes = [`${plural(points.length, 'row')} of ${boardWords(chosen.board)}.`];
  if (without) notes.push(`${plural(without, 'row')} without these values not drawn.`);
  if (incomplete) notes.push(`${plural(incomplete, 'incomplete row')} not drawn.`);
  notes.push('Axes need not begin at 0.');
  byId('chart-note').textContent = notes.join(' ');
}
