// The networks of the boxes in plain JavaScript, and a race: the same weights and batches in the
// boxes' own worker. `test_site_in_browser.py` puts this file into a built site.

import { numbers } from "./_static/train/random.js";
import { whole } from "./playground/runtime.js";

const PLACE = new URL("_static/train/", import.meta.url);
const SEED = 42; // as in worker.js
const LAYERS = {
  linear: ["linear"],
  two_layers: ["linear", "relu", "linear"],
  three_layers: ["linear", "relu", "linear", "relu", "linear"],
  lenet: ["conv", "relu", "pool", "conv", "relu", "pool", "linear", "relu", "drop", "linear"],
};

/** Both return milliseconds a batch, and all losses: {ms, losses}. */
globalThis.race = {
  ours: (chapter, hidden, batches) => about(chapter).then(({ box }) => inWorker(chapter, hidden, box.rate, batches)),
  async plain(chapter, hidden, batches) {
    const { box, digits } = await about(chapter);
    const bytes = await whole(new URL("digits.lzma", PLACE).href);
    return inPlain(box, hidden, bytes, digits, batches);
  },
};

async function about(chapter) {
  const { boxes, digits } = await (await fetch(new URL("about.json", PLACE))).json();
  return { box: boxes[chapter], digits };
}

/** Let the worker train; what it needs to validate in between is not counted. */
function inWorker(chapter, hidden, rate, batches) {
  const worker = new Worker(new URL("worker.js", PLACE), { type: "module" });
  const order = (name, more) => worker.postMessage({ order: name, ...more });
  const losses = [];
  let [began, at, validating] = [null, 0, 0];
  return new Promise((resolve, reject) => {
    const told = {
      opened() {
        order("set", { rate, sequence: "same" });
        if (hidden) order("choose", { hidden });
        order("run");
      },
      losses({ points }) {
        at = performance.now();
        losses.push(...points.map((point) => point[1]));
        if (losses.length >= batches >> 1) began ??= { at, count: losses.length }; // now it is fast
        if (losses.length < batches) return;
        worker.terminate();
        resolve({ losses, ms: (at - began.at - validating) / (losses.length - began.count) });
      },
      validated() {
        if (began) validating += performance.now() - at;
      },
      failed: ({ message }) => reject(new Error(message)),
    };
    worker.onmessage = ({ data }) => told[data.what]?.(data);
    order("open", { chapter });
  });
}

// ------------------------------------------------------------------------------ plain JavaScript

function inPlain(box, hidden, bytes, digits, batches) {
  const network = box.networks.find((one) => one.hidden === hidden);
  const random = numbers(SEED);
  const values = network.weights.map(({ shape, bound }) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return { shape, w: Float32Array.from({ length: size }, () => bound * (2 * random() - 1)) };
  });
  const layers = LAYERS[box.network].map((kind) => {
    const own = kind === "linear" || kind === "conv" ? [values.shift(), values.shift()] : [];
    return { kind, weights: own, gradients: own.map(({ w }) => new Float32Array(w.length)) };
  });
  const whole = digits.train - (digits.train % box.batch);
  const images = bytes.subarray(digits.train + digits.validation);
  const losses = [];
  let began;
  for (let step = 0; step < batches; step++) {
    if (step === batches >> 1) began = { at: performance.now(), step }; // now it is fast
    const first = (step * box.batch) % whole;
    const x = new Float32Array(box.batch * 784);
    for (let i = 0; i < x.length; i++) x[i] = (images[784 * first + i] / 255 - box.mean) / box.std;
    const labels = bytes.subarray(first, first + box.batch);
    losses.push(learn(layers, { x, side: 28, count: box.batch }, labels, box.rate, random));
  }
  return { losses, ms: (performance.now() - began.at) / (batches - began.step) };
}

function learn(layers, input, labels, rate, random) {
  const inputs = [];
  let at = input;
  for (const layer of layers) {
    inputs.push(at);
    at = forward[layer.kind](at, layer, random);
  }
  let { loss, gradient } = crossEntropy(at, labels);
  for (let i = layers.length - 1; i >= 0; i--) {
    const layer = layers[i];
    for (const values of layer.gradients) values.fill(0);
    gradient = backward[layer.kind](gradient, inputs[i], layer, i > 0);
  }
  for (const { weights, gradients } of layers) {
    weights.forEach(({ w }, k) => {
      const change = gradients[k];
      for (let i = 0; i < w.length; i++) w[i] -= rate * change[i];
    });
  }
  return loss;
}

function crossEntropy({ x, count }, labels) {
  const gradient = new Float32Array(x.length);
  let loss = 0;
  for (let b = 0; b < count; b++) {
    const logits = x.subarray(10 * b, 10 * b + 10);
    const most = Math.max(...logits);
    let sum = 0;
    for (let k = 0; k < 10; k++) sum += Math.exp(logits[k] - most);
    loss -= (logits[labels[b]] - most - Math.log(sum)) / count;
    for (let k = 0; k < 10; k++) {
      gradient[10 * b + k] = (Math.exp(logits[k] - most) / sum - (k === labels[b])) / count;
    }
  }
  return { loss, gradient };
}

const forward = {
  linear({ x, count }, { weights: [{ shape, w }, bias] }) {
    const [outputs, inputs] = shape;
    const y = new Float32Array(count * outputs);
    for (let b = 0; b < count; b++) {
      for (let o = 0; o < outputs; o++) {
        let sum = bias.w[o];
        for (let i = 0, p = o * inputs, q = b * inputs; i < inputs; i++) sum += w[p++] * x[q++];
        y[b * outputs + o] = sum;
      }
    }
    return { x: y, count };
  },
  relu: ({ x, ...more }) => ({ x: x.map((value) => (value > 0 ? value : 0)), ...more }),
  drop({ x, count }, layer, random) {
    layer.mask = Float32Array.from(x, () => (random() < 0.5 ? 0 : 2));
    return { x: x.map((value, i) => value * layer.mask[i]), count };
  },
  conv({ x, side, count }, { weights: [{ shape, w }, bias] }) {
    const [outputs, inputs, k] = shape;
    const left = side - k + 1;
    const y = new Float32Array(count * outputs * left * left);
    for (let b = 0; b < count; b++) {
      for (let o = 0; o < outputs; o++) {
        const out = (b * outputs + o) * left * left;
        y.fill(bias.w[o], out, out + left * left);
        for (let c = 0; c < inputs; c++) {
          for (let t = 0; t < k * k; t++) {
            const weight = w[(o * inputs + c) * k * k + t];
            const from = (b * inputs + c) * side * side + Math.floor(t / k) * side + (t % k);
            for (let row = 0; row < left; row++) {
              for (let i = 0, p = out + row * left, q = from + row * side; i < left; i++) y[p++] += weight * x[q++];
            }
          }
        }
      }
    }
    return { x: y, side: left, count };
  },
  pool({ x, side, count }, layer) {
    const left = side / 2;
    const y = new Float32Array(x.length / 4);
    layer.where = new Int32Array(y.length);
    for (let p = 0; p < y.length; p++) {
      const [map, row, column] = [Math.floor(p / (left * left)), Math.floor(p / left) % left, p % left];
      const corner = map * side * side + 2 * row * side + 2 * column;
      let best = corner;
      if (x[corner + 1] > x[best]) best = corner + 1;
      if (x[corner + side] > x[best]) best = corner + side;
      if (x[corner + side + 1] > x[best]) best = corner + side + 1;
      y[p] = x[best];
      layer.where[p] = best;
    }
    return { x: y, side: left, count };
  },
};

/** Each adds to the gradients of its weights; returns that of its input, where it is wanted. */
const backward = {
  linear(gradient, { x, count }, { weights: [{ shape, w }], gradients: [dw, db] }, wanted) {
    const [outputs, inputs] = shape;
    const dx = new Float32Array(wanted ? x.length : 0);
    for (let b = 0; b < count; b++) {
      for (let o = 0; o < outputs; o++) {
        const g = gradient[b * outputs + o];
        if (g === 0) continue;
        db[o] += g;
        for (let i = 0, p = o * inputs, q = b * inputs; i < inputs; i++) dw[p++] += g * x[q++];
        if (!wanted) continue;
        for (let i = 0, p = o * inputs, q = b * inputs; i < inputs; i++) dx[q++] += g * w[p++];
      }
    }
    return dx;
  },
  relu: (gradient, { x }) => gradient.map((g, i) => (x[i] > 0 ? g : 0)),
  drop: (gradient, _, { mask }) => gradient.map((g, i) => g * mask[i]),
  conv(gradient, { x, side, count }, { weights: [{ shape, w }], gradients: [dw, db] }, wanted) {
    const [outputs, inputs, k] = shape;
    const left = side - k + 1;
    const dx = new Float32Array(wanted ? x.length : 0);
    for (let b = 0; b < count; b++) {
      for (let o = 0; o < outputs; o++) {
        const out = (b * outputs + o) * left * left;
        for (let i = 0; i < left * left; i++) db[o] += gradient[out + i];
        for (let c = 0; c < inputs; c++) {
          for (let t = 0; t < k * k; t++) {
            const at = (o * inputs + c) * k * k + t;
            const from = (b * inputs + c) * side * side + Math.floor(t / k) * side + (t % k);
            let sum = 0;
            for (let row = 0; row < left; row++) {
              for (let i = 0, p = out + row * left, q = from + row * side; i < left; i++) sum += gradient[p++] * x[q++];
            }
            dw[at] += sum;
            if (!wanted) continue;
            for (let row = 0; row < left; row++) {
              for (let i = 0, p = out + row * left, q = from + row * side; i < left; i++) dx[q++] += w[at] * gradient[p++];
            }
          }
        }
      }
    }
    return dx;
  },
  pool(gradient, { x }, { where }) {
    const dx = new Float32Array(x.length);
    where.forEach((from, i) => (dx[from] += gradient[i]));
    return dx;
  },
};
