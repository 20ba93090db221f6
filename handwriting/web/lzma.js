// Unpacks what `playground.packed` has packed: a third smaller than what browsers unpack alone.
//
// After the reference decoder in the specification of LZMA (I. Pavlov, in the public domain). Each
// bit is decoded with a probability of its own, which adapts.

const PART = 1 << 20; // bytes after which others may work
const HALF = 1024; // of 2048: at first, each bit is as likely 0 as 1
// Where each group of probabilities begins, in one array.
const [MATCH, REP, REP0, REP1, REP2, REP0_LONG] = [0, 192, 204, 216, 228, 240];
const [SLOT, SPECIAL, ALIGN, LENGTH, AGAIN, LITERAL] = [432, 688, 816, 832, 1346, 1860];

/**
 * Return the bytes of a file of Python's `lzma.FORMAT_ALONE` that says how long it is; a promise.
 *
 * @param {Uint8Array} packed
 */
export async function unpacked(packed) {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const out = new Uint8Array(view.getUint32(5, true));
  const decode = decoder(packed, out);
  for (let end = 0; end < out.length; ) {
    end = decode(Math.min(end + PART, out.length));
    await new Promise((done) => setTimeout(done));
  }
  return out;
}

/** Return a function that decodes up to a place, or a little farther, and says how far. */
function decoder(packed, out) {
  const lc = packed[0] % 9; // bits of the byte before that the odds of a literal depend on
  const lp = Math.floor(packed[0] / 9) % 5; // and of its place
  const pb = Math.floor(packed[0] / 45); // bits of the place that all else depends on
  const odds = new Uint16Array(LITERAL + (768 << (lc + lp))).fill(HALF);
  let at = 18; // in `packed`: 13 bytes of header, one that is 0, four of the first code
  let range = 0xffffffff;
  let code = new DataView(packed.buffer, packed.byteOffset).getUint32(14);
  let here = 0; // in `out`
  let state = 0; // what came last: literals (below 7) or a repetition
  let [rep0, rep1, rep2, rep3] = [0, 0, 0, 0]; // the last distances, less 1

  function shift() {
    if (range >= 0x1000000) return;
    range = (range << 8) >>> 0;
    code = ((code << 8) | packed[at++]) >>> 0;
  }
  function bit(i) {
    const odd = odds[i];
    const bound = (range >>> 11) * odd;
    const found = code < bound ? 0 : 1;
    if (found) {
      range -= bound;
      code -= bound;
      odds[i] = odd - (odd >> 5);
    } else {
      range = bound;
      odds[i] = odd + ((2048 - odd) >> 5);
    }
    shift();
    return found;
  }
  function tree(first, bits) {
    let node = 1;
    for (let i = 0; i < bits; i++) node = (node << 1) | bit(first + node);
    return node - (1 << bits);
  }
  function reverse(first, bits) {
    let [node, value] = [1, 0];
    for (let i = 0; i < bits; i++) {
      const found = bit(first + node);
      node = (node << 1) | found;
      value |= found << i;
    }
    return value;
  }
  function direct(bits) {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      range >>>= 1;
      const found = code < range ? 0 : 1;
      if (found) code -= range;
      value = (value << 1) | found;
      shift();
    }
    return value;
  }
  function length(first, place) {
    if (!bit(first)) return 2 + tree(first + 2 + 8 * place, 3);
    if (!bit(first + 1)) return 10 + tree(first + 130 + 8 * place, 3);
    return 18 + tree(first + 258, 8);
  }
  function distance(size) {
    const slot = tree(SLOT + 64 * Math.min(size - 2, 3), 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const begin = (2 | (slot & 1)) << bits;
    if (slot < 14) return begin + reverse(SPECIAL + begin - slot, bits);
    return begin + (direct(bits - 4) << 4) + reverse(ALIGN, 4);
  }
  function literal() {
    const before = here ? out[here - 1] : 0;
    const place = here & ((1 << lp) - 1);
    const first = LITERAL + 768 * ((place << lc) + (before >> (8 - lc)));
    let node = 1;
    if (state >= 7) {
      let match = out[here - rep0 - 1];
      let same = true;
      while (same && node < 256) {
        const expected = (match >> 7) & 1;
        match <<= 1;
        const found = bit(first + ((1 + expected) << 8) + node);
        node = (node << 1) | found;
        same = expected === found;
      }
    }
    while (node < 256) node = (node << 1) | bit(first + node);
    out[here++] = node;
    state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
  }
  /** Find which of the last distances comes again, and bring it to the front. */
  function recall() {
    let chosen = rep1;
    if (bit(REP1 + state)) {
      chosen = rep2;
      if (bit(REP2 + state)) {
        chosen = rep3;
        rep3 = rep2;
      }
      rep2 = rep1;
    }
    rep1 = rep0;
    rep0 = chosen;
  }
  function repetition(place) {
    let size;
    if (!bit(REP + state)) {
      rep3 = rep2;
      rep2 = rep1;
      rep1 = rep0;
      size = length(LENGTH, place);
      rep0 = distance(size);
      state = state < 7 ? 7 : 10;
    } else if (bit(REP0 + state)) {
      recall();
      size = length(AGAIN, place);
      state = state < 7 ? 8 : 11;
    } else if (bit(REP0_LONG + 16 * state + place)) {
      size = length(AGAIN, place);
      state = state < 7 ? 8 : 11;
    } else {
      size = 1;
      state = state < 7 ? 9 : 11;
    }
    for (let i = 0; i < size; i++, here++) out[here] = out[here - rep0 - 1];
  }
  return (end) => {
    while (here < end) {
      const place = here & ((1 << pb) - 1);
      if (bit(MATCH + 16 * state + place)) repetition(place);
      else literal();
    }
    return here;
  };
}
