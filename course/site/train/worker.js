// Trains one network with ONNX Runtime Web, away from the page, which stays quick.
//
// Takes messages {order, ...}: open {chapter, files}, choose {hidden}, reset, run, pause, step,
// set {rate, sequence}, read {image, id}. Sends {what, ...}: opened, losses {points},
// validated {seen, accuracy, most, first}, paused, read {logits, id}, failed {message}.

import { fetched, session, Tensor, whole } from "../../playground/runtime.js";
import { numbers } from "./random.js";

const SEED = 42; // first weights and sequences are the same after each reset
const PATIENCE = 40; // milliseconds of work before the page is told, and asked

let place = (name) => new URL(name, import.meta.url).href; // where a file is
let box, counts, labels, images; // what is learned: see `training.copy`
let network, sessions; // of the chosen size
let weights, random, sequence, steps; // of this run
let rate = 0.01;
let kind = "shuffled"; // of sequences
let current = 0; // the number of the run that is going on
let runs = 0;

const orders = { open, choose, reset, run, pause, step, set, read };
let turn = Promise.resolve();

/** Do one thing after the other: the runtime does not do two at once. */
function inTurn(work) {
  turn = turn.then(work).catch((error) => {
    current = 0;
    postMessage({ what: "failed", message: String(error?.message ?? error) });
  });
  return turn;
}

onmessage = ({ data }) => {
  if (data.order === "pause") pause(); // at once, not after all that waits
  else inTurn(() => orders[data.order](data));
};

// ------------------------------------------------------------------------------------- setting up

async function open({ chapter, files }) {
  if (files) place = (name) => files[name.split("/").pop()];
  const about = await (await fetched(place("about.json"))).json();
  box = about.boxes[chapter];
  counts = about.digits;
  const bytes = await whole(place("digits.lzma"));
  const total = counts.train + counts.validation;
  labels = Int32Array.from(bytes.subarray(0, total));
  images = bytes.subarray(total);
  rate = box.rate;
  await choose({ hidden: box.chosen ?? 0 });
  postMessage({ what: "opened" });
}

async function choose({ hidden }) {
  network = box.networks.find((one) => one.hidden === hidden);
  const load = async (kind) => {
    const file = await fetched(place(`${network.name}.${kind}.onnx`));
    return session(await file.arrayBuffer(), place("../../playground/runtime.lzma"));
  };
  sessions = { step: await load("step"), read: await load("read") };
  await reset();
}

async function reset() {
  current = 0;
  random = numbers(SEED);
  steps = 0;
  sequence = null;
  weights = {};
  for (const { name, shape, bound } of network.weights) {
    const size = shape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: size }, () => bound * (2 * random() - 1));
    weights[name] = new Tensor("float32", values, shape);
  }
  await validate();
}

function set(given) {
  rate = given.rate ?? rate;
  if (given.sequence && given.sequence !== kind) {
    kind = given.sequence;
    sequence = null;
  }
}

// --------------------------------------------------------------------------------------- training

function run() {
  if (current) return;
  const mine = (current = ++runs);
  let points = [];
  let since = performance.now(); // when messages could come in last
  const tell = () => {
    postMessage({ what: "losses", points });
    points = [];
  };
  const go = async () => {
    if (current !== mine) {
      tell();
      if (!current) postMessage({ what: "paused" });
      return;
    }
    points.push(await learn());
    if (!Number.isFinite(points.at(-1)[1])) throw new RangeError("overflow");
    if (validates()) {
      tell();
      await validate();
    }
    if (performance.now() - since < PATIENCE) return go();
    tell();
    setTimeout(() => { // messages that came meanwhile go first
      since = performance.now();
      inTurn(go);
    });
  };
  return go();
}

function pause() {
  current = 0;
}

async function step() {
  postMessage({ what: "losses", points: [await learn()] });
  await validate();
  postMessage({ what: "paused" });
}

function validates() {
  return steps === 1 || steps % box.every === 0 || (steps * box.batch) % counts.train === 0;
}

/** Learn from one batch; return how many digits that makes, and the loss before. */
async function learn() {
  const { batch } = box;
  const whole = Math.floor(counts.train / batch);
  const at = steps % whole;
  if (!sequence || (at === 0 && kind === "shuffled")) sequence = sorted();
  const rows = sequence.subarray(at * batch, (at + 1) * batch);
  const found = await sessions.step.run({
    ...batchOf(rows),
    ...weights,
    ...masks(() => (random() < 0.5 ? 0 : 2)), // half is left out, the rest doubled
    labels: new Tensor("int32", Int32Array.from(rows, (row) => labels[row]), [batch]),
    rate: new Tensor("float32", [rate], []),
  });
  for (const name of Object.keys(weights)) weights[name] = found[`new.${name}`];
  steps += 1;
  return [steps * batch, found.loss.data[0]];
}

/** Return the rows of the training digits in the sequence that the reader has chosen. */
function sorted() {
  const rows = Int32Array.from({ length: counts.train }, (_, i) => i);
  if (kind === "sorted") rows.sort((a, b) => labels[a] - labels[b]);
  if (kind !== "shuffled") return rows;
  for (let i = rows.length - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [rows[i], rows[other]] = [rows[other], rows[i]];
  }
  return rows;
}

function batchOf(rows) {
  const pixels = new Uint8Array(box.batch * 784);
  rows.forEach((row, i) => pixels.set(images.subarray(784 * row, 784 * (row + 1)), 784 * i));
  return { images: new Tensor("uint8", pixels, [box.batch, 28, 28]) };
}

function masks(value) {
  const [width] = box.mask;
  if (!width) return {};
  const values = Float32Array.from({ length: box.batch * width }, value);
  return { mask: new Tensor("float32", values, [box.batch, width]) };
}

// ---------------------------------------------------------------------------------------- reading

/** Read the validation digits: send the accuracy, and what the page draws of the network. */
async function validate() {
  const { batch } = box;
  const { train, validation } = counts;
  let [right, total, most] = [0, 0, null];
  for (let first = train; first + batch <= train + validation; first += batch) {
    const rows = Int32Array.from({ length: batch }, (_, i) => first + i);
    const found = await answers(batchOf(rows));
    rows.forEach((row, i) => {
      right += likeliest(found.logits.data.subarray(10 * i, 10 * (i + 1))) === labels[row];
    });
    most = Float32Array.from(found.most.data, (value, i) => Math.max(value, most?.[i] ?? value));
    total += batch;
  }
  const first = weights[network.weights[0].name].data.slice(0, box.shown.count * box.shown.side ** 2);
  const seen = steps * batch;
  postMessage({ what: "validated", seen, accuracy: right / total, most, first });
}

function answers(batch) {
  return sessions.read.run({ ...batch, ...weights, ...masks(() => 1) });
}

function likeliest(logits) {
  return logits.indexOf(Math.max(...logits));
}

/** Read one image, uint8 of 28 × 28. */
async function read({ image, id }) {
  const pixels = new Uint8Array(box.batch * 784);
  pixels.set(image);
  const shape = [box.batch, 28, 28];
  const found = await answers({ images: new Tensor("uint8", pixels, shape) });
  postMessage({ what: "read", logits: found.logits.data.slice(0, 10), id });
}
