// The last layer of a model, trained in the page: softmax regression on what the layers below give.

export const SETTINGS = { steps: 60, rate: 0.03, momentum: 0.9, mixed: 48, seed: 42 };

/**
 * Train a layer by gradient descent on cross-entropy.
 *
 * @param {{weight: Float32Array, bias: Float32Array}} start classes × width, and classes.
 * @param {{features: Float32Array, label: number}[]} own what it learns from, all in each step.
 * @param {object[]} others of the same kind: in each step `mixed` of them, at random, come with it.
 * @returns {{weight: Float32Array, bias: Float32Array}}
 */
export function trained(start, own, others = [], settings = SETTINGS) {
  const { steps, rate, momentum, mixed, seed } = settings;
  const weight = start.weight.slice();
  const bias = start.bias.slice();
  const [classes, width] = [bias.length, weight.length / bias.length];
  const speed = { weight: new Float32Array(weight.length), bias: new Float32Array(classes) };
  const random = generator(seed);
  for (let step = 0; step < steps; step++) {
    const batch = [...own];
    for (let i = 0; i < mixed && others.length; i++) {
      batch.push(others[Math.floor(random() * others.length)]);
    }
    for (const values of Object.values(speed)) for (let i = 0; i < values.length; i++) values[i] *= momentum;
    for (const { features, label } of batch) {
      const errors = softmax(logits({ weight, bias }, features));
      errors[label] -= 1;
      for (let k = 0, i = 0; k < classes; k++) {
        const error = errors[k] / batch.length;
        speed.bias[k] += error;
        for (let j = 0; j < width; j++, i++) speed.weight[i] += error * features[j];
      }
    }
    for (let i = 0; i < weight.length; i++) weight[i] -= rate * speed.weight[i];
    for (let k = 0; k < classes; k++) bias[k] -= rate * speed.bias[k];
  }
  return { weight, bias };
}

/** Return the class that a layer finds likeliest. */
export function likeliest(layer, features) {
  const values = logits(layer, features);
  return values.indexOf(Math.max(...values));
}

/** Return the 95 % interval of a share (E. B. Wilson, 1927), as `records.confidence_interval`. */
export function interval(right, all) {
  const z = 1.959963984540054;
  const share = right / all;
  const middle = share + z ** 2 / (2 * all);
  const reach = z * Math.sqrt((share * (1 - share)) / all + (z / (2 * all)) ** 2);
  return [middle - reach, middle + reach].map((edge) => Math.min(1, Math.max(0, edge / (1 + z ** 2 / all))));
}

function logits({ weight, bias }, features) {
  const values = Float64Array.from(bias);
  for (let k = 0, i = 0; k < values.length; k++) {
    for (let j = 0; j < features.length; j++, i++) values[k] += weight[i] * features[j];
  }
  return values;
}

function softmax(values) {
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Return a function that gives numbers from 0 to 1, the same for the same seed: Mulberry32. */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
