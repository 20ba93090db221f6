// What the boxes say, in one place.

const number = (value) => value.toLocaleString("en");

export default {
  rate: "Learning rate",
  hidden: "Hidden units",
  sequence: "Training digits",
  sequences: {
    shuffled: "shuffled in each epoch",
    "as they come": "in the same order",
    sorted: "sorted: all zeros first",
  },
  start: "Start",
  pause: "Pause",
  step: "One batch",
  reset: "Reset",
  loading: "The runtime and the digits are being loaded: about 16 MB, once.",
  ready: "Nothing learned yet.",
  state: ({ epoch, loss, right, total }) =>
    `Epoch ${epoch.toFixed(1)} · loss ${loss === null ? "–" : loss.toFixed(3)} · ` +
    `${number(right)} of ${number(total)} validation digits right`,
  overflow: "The loss has overflowed: the steps were too long. Reset, and try a smaller rate.",
  failed: (message) => `This browser cannot train here: ${message}`,
  loss: "Loss of each batch",
  accuracy: "Validation accuracy",
  digits: "digits learned from, with repetitions",
  described: ({ right, total, digits, committed }) =>
    `Validation accuracy, your run and the notebook's. Yours: ${right} of ${total} right after ` +
    `${number(digits)} digits. The notebook's: ${committed} after all its epochs.`,
  legend: {
    own: "your run",
    earlier: "your runs before",
    committed: (name) => `the notebook’s: ${name}`,
  },
  alive: (alive, all, units) => `${alive} of ${all} ${units} answer, ${all - alive} are dead.`,
  draw: "Now draw",
  drawing: "The network above, as it is now, reads what you draw.",
  shift: "Shift the drawing sideways",
  shifted: (pixels) =>
    pixels === 0 ? "not at all" : `${Math.abs(pixels)} pixels to the ${pixels > 0 ? "right" : "left"}`,
  silence: "The network is busy.",
  found: "What the notebook found",
};
