// Two small charts, loss and validation accuracy, against how many digits have been learned from.

const [WIDTH, HEIGHT] = [340, 210];
const EDGE = { left: 34, right: 10, top: 24, bottom: 34 };
const KEPT = 3; // earlier runs that stay in sight

/**
 * Build the charts in `root`.
 *
 * @param {HTMLElement} root
 * @param {object} options
 *   least, most: the ends of that axis, which is logarithmic.
 *   committed: [[digits, accuracy], ...], drawn below the reader's run.
 * @returns {{loss(digits, value), accuracy(digits, value), restart(), name(words), describe(text)}}
 *   name({loss, accuracy, digits}): the titles, and the name of the axis below.
 */
export function createChart(root, { least, most, committed }) {
  const x = (digits) => {
    const share = Math.log(Math.max(digits, least) / least) / Math.log(most / least);
    return EDGE.left + share * (WIDTH - EDGE.left - EDGE.right);
  };
  const loss = panel(root, { x, most, least, top: 3 });
  const share = panel(root, { x, most, least, top: 1 });
  share.line("committed").set(committed.map(([digits, value]) => [x(digits), value]));

  let lines = [loss.line("own"), share.line("own")];
  let earlier = [];
  return {
    loss: (digits, value) => lines[0].add(x(digits), value, true),
    accuracy: (digits, value) => lines[1].add(x(digits), value, false),
    /** Begin a new run; the one before stays, thin. */
    restart() {
      if (lines[1].length() > 1) {
        earlier.push(lines);
        for (const line of lines) line.called("earlier");
        if (earlier.length > KEPT) for (const line of earlier.shift()) line.remove();
      } else for (const line of lines) line.remove();
      lines = [loss.line("own"), share.line("own")];
    },
    name(words) {
      loss.name(words.loss, words.digits);
      share.name(words.accuracy, words.digits);
    },
    describe: (text) => share.svg.setAttribute("aria-label", text),
  };
}

function panel(root, { x, most, least, top }) {
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const floor = HEIGHT - EDGE.bottom;
  const y = (value) => floor - (Math.min(Math.max(value, 0), top) / top) * (floor - EDGE.top);
  const text = (words, more) => svg.append(make("text", more, words));
  const title = make("text", { x: 0, y: 12, class: "title" });
  const below = make("text", { x: WIDTH - EDGE.right, y: HEIGHT - 4, "text-anchor": "end" });
  svg.append(title, below);
  for (let part = 0; part <= 4; part++) {
    const value = (top * part) / 4;
    svg.append(make("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value) }));
    text(String(value), { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" });
  }
  for (let digits = 100; digits <= most; digits *= 10) {
    if (digits < least) continue;
    const [short, unit] = digits >= 1e6 ? [digits / 1e6, "M"] : digits >= 1e3 ? [digits / 1e3, "k"] : [digits, ""];
    text(`${short}${unit}`, { x: x(digits), y: floor + 15, "text-anchor": "middle" });
  }
  root.append(svg);
  const name = (above, axis) => {
    title.textContent = above;
    below.textContent = axis;
    svg.setAttribute("aria-label", above);
  };
  return { svg, name, line: (name) => createLine(svg, name, y) };
}

/** A line that keeps one point a column of pixels: the mean of what comes there, or the last. */
function createLine(svg, name, y) {
  const path = make("path", { class: name, fill: "none" });
  svg.append(path);
  const points = []; // [column, value, how many]
  const draw = () => {
    path.setAttribute("d", points.map(([at, value], i) => `${i ? "L" : "M"}${at.toFixed(1)},${y(value).toFixed(1)}`).join(""));
  };
  return {
    add(at, value, averaged) {
      const last = points.at(-1);
      if (last && at - last[0] < 1) {
        last[2] += 1;
        last[1] = averaged ? last[1] + (value - last[1]) / last[2] : value;
      } else points.push([at, value, 1]);
      draw();
    },
    set(all) {
      points.splice(0, Infinity, ...all);
      draw();
    },
    called: (other) => path.setAttribute("class", other),
    length: () => points.length,
    remove: () => path.remove(),
  };
}

function make(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
