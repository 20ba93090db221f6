// The image operations that `handwriting.ink` takes from Pillow, SciPy and scikit-image, with the
// same results down to their rounding. A grid is {width, height, data}, row after row.

/** Make a grid of zeros; `Type` is a typed array. */
export function grid(width, height, Type = Uint8Array) {
  return { width, height, data: new Type(width * height) };
}

/** Return a grid of the same size, each value by `change(value, index)`. */
export function mapped(image, change, Type = Uint8Array) {
  const { width, height, data } = image;
  const result = grid(width, height, Type);
  for (let i = 0; i < data.length; i++) result.data[i] = change(data[i], i);
  return result;
}

/** Return the part from (left, top) up to, not including, (right, bottom). */
export function cropped(image, { left, top, right, bottom }) {
  const part = grid(right - left, bottom - top, image.data.constructor);
  for (let y = top; y < bottom; y++) {
    const row = image.data.subarray(y * image.width + left, y * image.width + right);
    part.data.set(row, (y - top) * part.width);
  }
  return part;
}

/** Return the image with `margin` zeros on every side. */
export function padded(image, margin) {
  const result = grid(
    image.width + 2 * margin, image.height + 2 * margin, image.data.constructor,
  );
  pasted(result, image, margin, margin);
  return result;
}

/** Copy `image` into `target`, its corner at (left, top). */
export function pasted(target, image, left, top) {
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(y * image.width, (y + 1) * image.width);
    target.data.set(row, (y + top) * target.width + left);
  }
}

/** Return the box around all values above `least`: {left, top, right, bottom}, or null. */
export function boxOf(image, least = 0) {
  const { width, height, data } = image;
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (data[i] <= least) continue;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
      if (y < top) top = y;
      bottom = y + 1;
    }
  }
  return right ? { left, top, right, bottom } : null;
}

/** Return the longer side. */
export function longer({ width, height }) {
  return Math.max(width, height);
}

/** Return the width and the height of a box. */
export function sidesOf({ left, top, right, bottom }) {
  return [right - left, bottom - top];
}

// -------------------------------------------------------------------------------------- numbers

export function sum(values) {
  return values.reduce((a, b) => a + b, 0);
}

/** Return the largest of any number of values, 0 of none. */
export function most(values) {
  return values.reduce((a, b) => Math.max(a, b), 0);
}

export function bounded(value, most) {
  return Math.min(most, Math.max(0, value));
}

/** Round to the nearest whole number, halves to the even one, as Python and NumPy do. */
export function round(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 ? below + 1 : below;
}

/** Return the values, of a typed array, at which `mask` is not zero. */
export function selected(values, mask) {
  let count = 0;
  for (let i = 0; i < values.length; i++) if (mask[i]) count++;
  const result = new values.constructor(count);
  for (let i = 0, k = 0; i < values.length; i++) if (mask[i]) result[k++] = values[i];
  return result;
}

/** Return 1 where the image has more than `least`, else 0. */
export function above(image, least) {
  const mask = grid(image.width, image.height);
  for (let i = 0; i < mask.data.length; i++) mask.data[i] = image.data[i] > least ? 1 : 0;
  return mask;
}

/** Return the middle of the values, a typed array; NaN of none. */
export function median(values) {
  const middle = values.length >> 1;
  if (values.length % 2) return ranked(values, middle)[0];
  const [below, above] = ranked(values, middle - 1);
  return (below + above) / 2;
}

/** Return the value that `percent` of the values, a typed array, lie below. */
export function percentile(values, percent) {
  const place = ((values.length - 1) * percent) / 100;
  const [below, above] = ranked(values, Math.floor(place));
  return below + (above - below) * (place - Math.floor(place));
}

/** Return the values that would stand at `rank` and after it, were all sorted: quickselect. */
function ranked(values, rank) {
  const all = values.slice();
  let [low, high] = [0, all.length - 1];
  while (low < high) {
    const pivot = all[(low + high) >> 1];
    let [i, j] = [low, high];
    while (i <= j) {
      while (all[i] < pivot) i++;
      while (all[j] > pivot) j--;
      if (i > j) break;
      const moved = all[i];
      all[i++] = all[j];
      all[j--] = moved;
    }
    if (rank <= j) high = j;
    else if (rank >= i) low = i;
    else break;
  }
  let next = Infinity;
  for (let i = rank + 1; i < all.length; i++) if (all[i] < next) next = all[i];
  return [all[rank] ?? NaN, next === Infinity ? all[rank] : next];
}

/** Return what divides numbers into two groups best: scikit-image's threshold_otsu. */
export function otsu(values) {
  const bins = 256;
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (!(least < most)) return least;
  const counts = new Float64Array(bins);
  const each = (most - least) / bins;
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - least) / each))]++;
  const centre = (i) => least + (i + 0.5) * each;
  let [above, sumAbove] = [0, 0];
  counts.forEach((count, i) => {
    above += count;
    sumAbove += count * centre(i);
  });
  let [below, sumBelow, best, found] = [0, 0, -1, 0];
  for (let i = 0; i < bins - 1; i++) {
    below += counts[i];
    sumBelow += counts[i] * centre(i);
    above -= counts[i];
    sumAbove -= counts[i] * centre(i);
    const between = below * above * (sumBelow / below - sumAbove / above) ** 2;
    if (between > best) [best, found] = [between, i];
  }
  return centre(found);
}

// ------------------------------------------------------------------------------ Pillow's resize

// How far each filter reaches, in pixels, and the weight it gives at a distance.
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const [a, b] = [-0.5, Math.abs(x)];
    if (b < 1) return ((a + 2) * b - (a + 3)) * b * b + 1;
    return b < 2 ? (((b - 5) * b + 8) * b - 4) * a : 0;
  }],
};
const BITS = 22; // for whole values, weights are whole numbers of 2^-22

/**
 * Resize as Pillow 13 does: along the rows, rounded to the type of the values, then the columns;
 * columns first where the height loses more than twice as many pixels as the width.
 *
 * @param {string} filter box, bilinear or bicubic; when shrinking, wide enough to average.
 * @param {number[]} extent how much of the image's width and height is meant, from its corner.
 */
export function resized(image, width, height, filter, extent = [image.width, image.height]) {
  const rows = (one) => alongRows(one, width, filter, extent[0]);
  const columns = (one) => alongColumns(one, height, filter, extent[1]);
  const tall = image.height - height > 2 * Math.max(0, image.width - width);
  return tall ? rows(columns(image)) : columns(rows(image));
}

/** Shrink, proportions kept, until the longer side is at most `longest`; large images in steps. */
export function within(image, longest) {
  const [wide, high] = [image.width, image.height];
  const most = Math.max(wide, high);
  if (most <= longest) return image;
  const [width, height] = [wide, high].map((side) => Math.max(1, round(side * (longest / most))));
  const steps = (times) => Math.max(1, Math.trunc(times / 2));
  const [x, y] = [steps(wide / width), steps(high / height)];
  return resized(averaged(image, x, y), width, height, "bilinear", [wide / x, high / y]);
}

/** Return the mean of each block of `wide` by `high` values, rounded: Pillow's reduce. */
function averaged(image, wide, high) {
  if (wide * high === 1) return image;
  const { width, height, data } = image;
  const result = grid(Math.ceil(width / wide), Math.ceil(height / high));
  for (let y = 0, i = 0; y < result.height; y++) {
    const bottom = Math.min(height, (y + 1) * high);
    for (let x = 0; x < result.width; x++, i++) {
      const right = Math.min(width, (x + 1) * wide);
      let sum = 0;
      for (let row = y * high; row < bottom; row++) {
        for (let column = x * wide; column < right; column++) sum += data[row * width + column];
      }
      const count = (bottom - y * high) * (right - x * wide);
      result.data[i] = ((sum + (count >> 1)) * Math.floor(2 ** 24 / count)) / 2 ** 24;
    }
  }
  return result;
}

function alongRows(image, width, filter, extent) {
  if (width === image.width && width === extent) return image;
  const { height, data } = image;
  const whole = data instanceof Uint8Array;
  const { starts, stops, weights, most } = shares(image.width, width, filter, extent, whole);
  const result = grid(width, height, data.constructor);
  const line = new Float64Array(image.width); // of one type, which the browser makes fast
  const values = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    line.set(data.subarray(y * line.length, (y + 1) * line.length));
    // Plain paper on the left and on the right stays as it is.
    let [left, right] = [0, line.length - 1];
    while (left < line.length && line[left] === line[0]) left++;
    while (right > left && line[right] === line[line.length - 1]) right--;
    if (whole && left === line.length) {
      result.data.fill(line[0], y * width, (y + 1) * width);
      continue;
    }
    for (let x = 0; x < width; x++) {
      if (whole && stops[x] <= left) {
        values[x] = line[0];
      } else if (whole && starts[x] > right) {
        values[x] = line[line.length - 1];
      } else {
        let value = 0;
        for (let i = starts[x], k = x * most; i < stops[x]; i++, k++) value += line[i] * weights[k];
        values[x] = whole ? toByte(value) : value;
      }
    }
    result.data.set(values, y * width);
  }
  return result;
}

function alongColumns(image, height, filter, extent) {
  if (height === image.height && height === extent) return image;
  const { width, data } = image;
  const whole = data instanceof Uint8Array;
  const { starts, stops, weights, most } = shares(image.height, height, filter, extent, whole);
  const result = grid(width, height, data.constructor);
  const line = new Float64Array(width);
  const values = new Float64Array(width);
  let [first, last] = [0, data.length - 1]; // plain paper above and below stays as it is
  while (first < data.length && data[first] === data[0]) first++;
  while (last > first && data[last] === data[data.length - 1]) last--;
  for (let y = 0; y < height; y++) {
    if (whole && stops[y] * width <= first) {
      values.fill(data[0]);
    } else if (whole && starts[y] * width > last) {
      values.fill(data[data.length - 1]);
    } else {
      values.fill(0);
      for (let i = starts[y], k = y * most; i < stops[y]; i++, k++) {
        const weight = weights[k];
        line.set(data.subarray(i * width, (i + 1) * width));
        for (let x = 0; x < width; x++) values[x] += line[x] * weight;
      }
      if (whole) for (let x = 0; x < width; x++) values[x] = toByte(values[x]);
    }
    result.data.set(values, y * width);
  }
  return result;
}

/** Return which values each new one is made of, and their weights: `most` for each. */
function shares(before, after, filter, extent, whole) {
  const [reach, weigh] = FILTERS[filter];
  const scale = extent / after;
  const wide = Math.max(1, scale);
  const most = 2 * Math.ceil(reach * wide) + 1;
  const starts = new Int32Array(after);
  const stops = new Int32Array(after);
  const weights = new Float64Array(after * most);
  for (let x = 0; x < after; x++) {
    const centre = (x + 0.5) * scale;
    starts[x] = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
    stops[x] = Math.min(before, Math.trunc(centre + reach * wide + 0.5));
    const own = weights.subarray(x * most, x * most + stops[x] - starts[x]);
    let sum = 0;
    for (let i = 0; i < own.length; i++) {
      sum += own[i] = weigh((i + starts[x] - centre + 0.5) * (1 / wide));
    }
    for (let i = 0; i < own.length; i++) {
      if (sum) own[i] /= sum;
      if (whole) own[i] = Math.trunc(own[i] * (1 << BITS) + (own[i] < 0 ? -0.5 : 0.5));
    }
  }
  return { starts, stops, weights, most };
}

function toByte(value) {
  const rounded = Math.floor(value / 2 ** BITS + 0.5);
  return rounded < 0 ? 0 : rounded > 255 ? 255 : rounded;
}

function transposed({ width, height, data }) {
  const result = grid(height, width, data.constructor);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0, k = y; x < width; x++, i++, k += height) result.data[k] = data[i];
  }
  return result;
}

// -------------------------------------------------------------------------------------- blurring

/** Blur as Pillow's GaussianBlur does: three running means along the rows, three down. */
export function blurred(image, radius) {
  const mean = runningMean(radius, 3);
  const rows = (one) => mean(mean(mean(one)));
  return transposed(rows(transposed(rows(image))));
}

function runningMean(radius, passes) {
  const f = Math.fround;
  // P. Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended Box Filtering,
  // 2011: the width of a box that has the wanted variance, its ends weighted by a fraction.
  const variance = f((f(radius) * f(radius)) / passes);
  const length = f(Math.sqrt(12 * variance + 1));
  const whole = Math.floor((length - 1) / 2);
  let part = f((2 * whole + 1) * (whole * (whole + 1) - 3 * variance));
  part = f(part / (6 * (variance - (whole + 1) ** 2)));
  const inner = Math.floor((1 << 24) / f(f(whole + part) * 2 + 1));
  const outer = Math.floor(((1 << 24) - (2 * whole + 1) * inner) / 2);
  return (image) => {
    const { width, height, data } = image;
    const result = grid(width, height);
    for (let y = 0; y < height; y++) {
      const at = (x) => data[y * width + Math.min(width - 1, Math.max(0, x))];
      let sum = 0;
      for (let x = -whole; x <= whole; x++) sum += at(x);
      for (let x = 0; x < width; x++) {
        const ends = at(x - whole - 1) + at(x + whole + 1);
        result.data[y * width + x] = Math.floor((sum * inner + ends * outer + (1 << 23)) / 2 ** 24);
        sum += at(x + whole + 1) - at(x - whole);
      }
    }
    return result;
  };
}

/** Blur as SciPy's gaussian_filter does: the image goes on mirrored beyond its edges. */
export function gaussian(image, sigma) {
  const reach = Math.trunc(4 * sigma + 0.5);
  const bell = new Float64Array(reach + 1).map((_, i) => Math.exp((-0.5 * i * i) / sigma ** 2));
  const sum = 2 * bell.reduce((a, b) => a + b) - bell[0];
  const weights = bell.map((weight) => weight / sum);
  const { width, height, data } = image;
  const Type = data instanceof Float64Array ? Float64Array : Float32Array;
  const result = { width, height, data: new Type(data) };
  for (const columns of [true, false]) {
    const length = columns ? height : width;
    const longer = new Float64Array(length + 2 * reach);
    const places = Int32Array.from(longer, (_, x) => mirrored(x - reach, length));
    changeLines(result, columns, (line, changed) => {
      for (let x = 0; x < longer.length; x++) longer[x] = line[places[x]];
      for (let x = 0, middle = reach; x < length; x++, middle++) {
        let value = longer[middle] * weights[0];
        for (let i = reach; i > 0; i--) {
          value += (longer[middle - i] + longer[middle + i]) * weights[i];
        }
        changed[x] = value;
      }
    });
  }
  return result;
}

/** Change an image row by row, or column by column, by `change(line, changed)`. */
function changeLines({ width, height, data }, columns, change) {
  const [count, next] = columns ? [width, 1] : [height, width];
  const [length, step] = columns ? [height, width] : [width, 1];
  const line = new Float64Array(length);
  const changed = new Float64Array(length);
  for (let number = 0; number < count; number++) {
    const start = number * next;
    for (let i = 0, at = start; i < length; i++, at += step) line[i] = data[at];
    change(line, changed);
    for (let i = 0, at = start; i < length; i++, at += step) data[at] = changed[i];
  }
}

/** Return where `x` is found inside when the image is mirrored at its edges: b a | a b c | c b. */
function mirrored(x, size) {
  const turn = ((x % (2 * size)) + 2 * size) % (2 * size);
  return turn < size ? turn : 2 * size - 1 - turn;
}

// ----------------------------------------------------------------------------------------- shape

/** Return the largest value at most `reach` pixels away along the rows, and `down` along columns. */
export function largestNear(image, reach, down = reach) {
  return extreme(image, reach, down, 1);
}

/** Return the smallest value at most `reach` pixels away along both axes. */
export function smallestNear(image, reach) {
  return extreme(image, reach, reach, -1);
}

function extreme({ width, height, data }, across, down, sign) {
  const result = { width, height, data: data.slice() };
  for (const [columns, reach] of [[true, down], [false, across]]) {
    changeLines(result, columns, (line, changed) => {
      changed.fill(line[0]);
      if (line.every((value) => value === line[0])) return; // most lines are empty
      for (let x = 0; x < line.length; x++) {
        let found = line[x];
        const end = Math.min(line.length - 1, x + reach);
        for (let i = Math.max(0, x - reach); i <= end; i++) {
          if (sign * line[i] > sign * found) found = line[i];
        }
        changed[x] = found;
      }
    });
  }
  return result;
}

/** Close gaps of dark between light ones: SciPy's grey_closing with a square. */
export function closed(image, reach) {
  return smallestNear(largestNear(image, reach), reach);
}

/** Return the mask with its holes filled: SciPy's binary_fill_holes. */
export function filled(mask) {
  const { width, height, data } = padded(mapped(mask, (inside) => (inside ? 1 : 0)), 1);
  const waiting = [0];
  while (waiting.length) {
    const i = waiting.pop();
    if (i < 0 || i >= data.length || data[i]) continue;
    data[i] = 2; // can be reached from outside
    waiting.push(i - width, i + width);
    if (i % width) waiting.push(i - 1);
    if ((i + 1) % width) waiting.push(i + 1);
  }
  const inner = { left: 1, top: 1, right: width - 1, bottom: height - 1 };
  return mapped(cropped({ width, height, data }, inner), (value) => value !== 2);
}

/** Return the mask grown by a pixel to all four sides. */
export function grown(mask) {
  return withNear(mask, (inside, near) => inside || near.some(Boolean));
}

/** Return the mask without its pixels that lie on its edge, or on the picture's. */
export function shrunk(mask) {
  return withNear(mask, (inside, near) => inside && near.every(Boolean));
}

function withNear(mask, change) {
  const { width, data } = mask;
  return mapped(mask, (inside, i) => {
    const x = i % width;
    const beside = [x && data[i - 1], x < width - 1 && data[i + 1]];
    return change(inside, [...beside, data[i - width], data[i + width]]) ? 1 : 0;
  });
}

/** Return whether a mask reaches the left, upper, right and lower side of the picture. */
export function reaches(mask) {
  const box = boxOf(mask);
  if (!box) return [false, false, false, false];
  return [!box.left, !box.top, box.right === mask.width, box.bottom === mask.height];
}

/** Return how steeply the values rise at each pixel, from its neighbours: NumPy's gradient. */
export function slopes(image) {
  const { width, height, data } = image;
  const result = grid(width, height, Float32Array);
  for (let y = 0, i = 0; y < height; y++) {
    const [above, below] = [Math.max(0, y - 1), Math.min(height - 1, y + 1)];
    for (let x = 0; x < width; x++, i++) {
      const [left, right] = [Math.max(0, x - 1), Math.min(width - 1, x + 1)];
      const across = (data[y * width + right] - data[y * width + left]) / (right - left);
      const down = (data[below * width + x] - data[above * width + x]) / (below - above);
      result.data[i] = Math.sqrt(across * across + down * down);
    }
  }
  return result;
}

/**
 * Return how far each pixel of the mask is from the nearest one outside it, at least one: exact.
 *
 * P. Felzenszwalb, D. Huttenlocher, Distance Transforms of Sampled Functions, 2012.
 */
export function distances(mask) {
  const far = mask.width ** 2 + mask.height ** 2; // farther than anything here
  const result = grid(mask.width, mask.height, Float64Array);
  for (let i = 0; i < result.data.length; i++) result.data[i] = mask.data[i] ? far : 0;
  changeLines(result, false, lowest(mask.width));
  changeLines(result, true, lowest(mask.height));
  for (let i = 0; i < result.data.length; i++) result.data[i] = Math.sqrt(result.data[i]);
  return result;
}

/** Return what finds the least of value + squared distance: the lower edge of parabolas. */
function lowest(length) {
  const places = new Int32Array(length);
  const starts = new Float64Array(length + 1);
  return (line, changed) => {
    let last = 0;
    places[0] = 0;
    starts[0] = -Infinity;
    starts[1] = Infinity;
    for (let x = 1; x < length; x++) {
      let crossing;
      for (; ; last--) {
        const place = places[last];
        crossing = (line[x] + x * x - line[place] - place * place) / (2 * (x - place));
        if (crossing > starts[last]) break;
      }
      starts[++last] = crossing;
      places[last] = x;
      starts[last + 1] = Infinity;
    }
    for (let x = 0, i = 0; x < length; x++) {
      while (starts[i + 1] < x) i++;
      changed[x] = (x - places[i]) ** 2 + line[places[i]];
    }
  };
}

/**
 * Find the parts of a mask; pixels that touch at a corner belong together where `corners` count.
 *
 * @returns {{parts, areas, boxes}} parts: a grid with the number of each pixel's part, from 1;
 *   areas and boxes: by part, at 0 nothing.
 */
export function labelled(mask, corners = true) {
  const { width, height, data } = mask;
  const parts = grid(width, height, Int32Array);
  const [areas, boxes] = [[0], [null]];
  const waiting = [];
  for (let start = 0; start < data.length; start++) {
    if (!data[start] || parts.data[start]) continue;
    const number = areas.length;
    const box = { left: width, top: height, right: 0, bottom: 0 };
    let area = 0;
    parts.data[start] = number;
    waiting.push(start);
    while (waiting.length) {
      const at = waiting.pop();
      const [x, y] = [at % width, Math.floor(at / width)];
      area += 1;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
      for (let nextY = Math.max(0, y - 1); nextY <= Math.min(height - 1, y + 1); nextY++) {
        for (let nextX = Math.max(0, x - 1); nextX <= Math.min(width - 1, x + 1); nextX++) {
          const next = nextY * width + nextX;
          if (!corners && nextX !== x && nextY !== y) continue;
          if (data[next] && !parts.data[next]) {
            parts.data[next] = number;
            waiting.push(next);
          }
        }
      }
    }
    areas.push(area);
    boxes.push(box);
  }
  return { parts, areas, boxes };
}

// Which pixels a skeleton loses, by their eight neighbours (clockwise from the upper left, the
// first is worth 1): 1 in the first pass of each round, 2 in the second, 3 in both. It is what
// scikit-image's skeletonize does, in the way of T. Y. Zhang, C. Y. Suen, A Fast Parallel
// Algorithm for Thinning Digital Patterns, 1984, but for some corners.
const LOST = Uint8Array.from(
  "0001001300111013000000002020303300000000300000000000000020003022" +
  "0000000000000000000000000000000020000000200020003000000030003020" +
  "0031001300000001000000000000000131000000000000002000000000000000" +
  "2313001300000001000000000000000023010001000000003301000022002000",
  Number,
);

/** Return the middle lines of the mask, one pixel wide. */
export function skeleton(mask) {
  const result = padded(above(mask, 0), 1);
  const { width, data } = result;
  const left = new Int32Array(data.length); // the places of what is left, `count` of them
  const lost = new Int32Array(data.length);
  let count = 0;
  for (let i = 0; i < data.length; i++) if (data[i]) left[count++] = i;
  for (let removed = true; removed; ) {
    removed = false;
    for (let pass = 1; pass <= 2; pass++) {
      let gone = 0;
      for (let k = 0; k < count; k++) {
        const i = left[k];
        const code =
          data[i - width - 1] + 2 * data[i - width] + 4 * data[i - width + 1] + 8 * data[i + 1] +
          16 * data[i + width + 1] + 32 * data[i + width] + 64 * data[i + width - 1] +
          128 * data[i - 1];
        if (LOST[code] & pass) lost[gone++] = i;
      }
      for (let k = 0; k < gone; k++) data[lost[k]] = 0;
      let kept = 0;
      for (let k = 0; k < count; k++) if (data[left[k]]) left[kept++] = left[k];
      count = kept;
      removed ||= gone > 0;
    }
  }
  return cropped(result, {
    left: 1, top: 1, right: result.width - 1, bottom: result.height - 1,
  });
}
