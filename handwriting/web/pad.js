// A drawing pad: paper to write one character on, and a model's answer beside it.
//
// `createPad(root, options)` is free of Jupyter: a page gets each picture as a PNG blob and answers
// by `pad.show(answer)`. The default export is the adapter for anywidget. One file without imports.

export const SIDE = 280; // of the paper, in its own units; strokes are kept in these
export const PICTURE = 560; // side of the picture that is read, in pixels
const LARGE = 1600; // longest side of a picture that was pasted or dropped, in pixels
const PEN = { least: 6, most: 30, start: 16 };
const STEP = 8; // of the keyboard's cursor, in units of the paper; with Shift a quarter of it
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PALM = 1000; // milliseconds after a pen in which touches are taken for the hand's
const ROWS = 5;

/**
 * Build a pad in `root`.
 *
 * @param {HTMLElement} root where the pad goes; what it holds is kept.
 * @param {object} options
 *   words: the table `words.json`, its parts "pad" and "refusals". language: "en" or "ta".
 *   sources: [{name, noun, labels: [[text, transliteration], ...], title?, origin?}], the models to
 *     choose from; noun is what is drawn ("digit", "letter"), the rest says which model it is.
 *   task: null, or what to write: {number, text, transliteration, strokes?, done, right}.
 *     A picture is then read when "Check" is pressed, not after every stroke. keeps: whether that
 *     button is called "Keep" instead.
 *   pictures: whether a picture may be pasted or dropped; it is then read in place of a drawing.
 *   onPicture(blob, {number, source, task}): read the picture; answer by `show`.
 *   onDrawing(canvas, {number, source}): the same for a page that reads by itself; it comes in
 *     place of `onPicture` and at once, while the PNG of a blob takes some milliseconds.
 *   onKeep(blob, {number, source, label}): keep the picture; answer by `kept`. Without it there
 *     is no such row.
 *   onNext(): the next task, please; answer by `setTask`. Without it there is no such button.
 *   patience: milliseconds without an answer until the sentence `silence`, a key, is shown.
 * @returns {{show, kept, giveUp, setTask, speak, guide, destroy}}
 *   show(answer): {number?, sure, choices: [{text, transliteration, probability, strokes?}],
 *     seen?: an image URL, side?} or {number?, error: a sentence, all?}. Strokes, where given, are
 *     drawn in place of the text: [[[x, y], ...], ...], y down, a stroke of one point is a dot.
 *     all: {sure, choices} of each where there are several characters.
 *   kept({path} or {error}): what became of "Keep". giveUp(): there will be no answer.
 *   speak(language, names?): say all in that language; names are those of the sources.
 *   guide(element or null): lay something over the paper, which is drawn on as before.
 */
export function createPad(root, options) {
  const { sources, onPicture, onDrawing, onKeep, onNext } = options;
  const patience = options.patience ?? 3000;
  const silence = options.silence ?? "silence_model";
  const { words } = options;
  let language = options.language ?? "en";
  const word = (key, values = {}) =>
    words.pad[key][language].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const aborter = new AbortController();
  const on = (target, type, action, more) =>
    target.addEventListener(type, action, { signal: aborter.signal, ...more });

  let task = options.task ?? null;
  let source = 0;
  let strokes = []; // of {width, points: [[x, y], ...]}
  let photo = null; // a canvas: the picture in their place that was pasted or dropped
  let open = null; // the stroke that is being drawn
  let pointer = null; // the id of the pointer that draws it
  let penSeen = -Infinity; // when a pen was last near, in milliseconds
  let cursor = [SIDE / 2, SIDE / 2]; // of the keyboard
  let number = 0; // of the last picture or request; older answers are dropped
  let timer = null;
  let brought = 0; // of the last file
  let trouble = ""; // with it
  let chosen = false; // the reader has picked a label for this drawing
  const held = new Set();

  // ----------------------------------------------------------------------------- elements

  const canvas = make("canvas", {
    class: "nbh-paper", tabindex: "0", role: "application", title: "",
  });
  const hint = make("div", { class: "nbh-hint", "aria-hidden": "true" });
  const mark = make("div", { class: "nbh-cursor", "aria-hidden": "true" });
  const undoButton = make("button", { type: "button" });
  const clearButton = make("button", { type: "button" });
  const width = make("input", {
    type: "range", min: PEN.least, max: PEN.most, value: options.pen ?? PEN.start,
  });
  const nib = make("span", { class: "nbh-nib", "aria-hidden": "true" });
  const pictureButton = make("button", { type: "button" });
  // Without `capture`, phones offer their camera and the gallery; Chrome on Android, since 14, only
  // where a type is named that its chooser of photos does not know (Chromium's issue 40937303).
  const isAndroid = /Android.*Chrome/.test(navigator.userAgent);
  const chooser = make("input", {
    type: "file", accept: `image/*${isAndroid ? ",android/allowCamera" : ""}`, hidden: "",
  });
  const headline = make("div", { class: "nbh-headline" });
  const message = make("div", { class: "nbh-message" });
  const status = make("div", { class: "nbh-status", role: "status", "aria-atomic": "true" });
  status.append(headline, message);
  const spoken = make("div", { class: "nbh-hidden", role: "status" });
  const seen = make("img", { alt: "" });
  const seenText = make("figcaption", {});
  const seenBox = make("figure", { class: "nbh-seen nbh-empty" });
  seenBox.append(seen, seenText);
  const list = make("ol", { class: "nbh-choices" });
  const about = make("div", { class: "nbh-about" });
  const switcher = make("fieldset", { class: "nbh-switch" });
  const label = make("select", {});
  const keepButton = make("button", { type: "button" });
  const keepText = make("span", { class: "nbh-kept", role: "status" });
  const wanted = make("div", { class: "nbh-wanted" });
  const score = make("div", { class: "nbh-score", role: "status" });
  const checkButton = make("button", { type: "button", class: "nbh-primary" });
  const nextButton = make("button", { type: "button" });

  const box = make("div", { class: "nbh-pad" });
  const inner = make("div", { class: "nbh-inner" });
  const paper = make("div", { class: "nbh-sheet" });
  paper.append(canvas, hint, mark);
  const pen = make("label", { class: "nbh-pen" });
  const penText = make("span", {});
  pen.append(penText, width, nib);
  const tools = make("div", { class: "nbh-tools" });
  tools.append(undoButton, clearButton, pen, ...(options.pictures ? [pictureButton, chooser] : []));
  const left = make("div", { class: "nbh-left" });
  left.append(paper, tools);
  const right = make("div", { class: "nbh-right" });
  const top = make("div", { class: "nbh-top" });
  top.append(status, seenBox);
  right.append(top, list, about);
  const main = make("div", { class: "nbh-main" });
  main.append(left, right);
  if (sources.length > 1) inner.append(switcher);
  if (task) {
    const asked = make("div", { class: "nbh-task" });
    const buttons = make("div", { class: "nbh-task-buttons" });
    buttons.append(checkButton, ...(onNext ? [nextButton] : []));
    asked.append(wanted, score);
    inner.append(asked);
    left.append(buttons);
  }
  inner.append(main);
  const keepThis = make("span", {});
  if (onKeep) {
    const keep = make("div", { class: "nbh-keep" });
    const caption = make("label", {});
    caption.append(keepThis, label);
    keep.append(caption, keepButton, keepText);
    inner.append(keep);
  }
  box.append(inner, spoken);
  root.append(box);

  const legend = make("legend", { class: "nbh-hidden" });
  switcher.append(legend);
  const group = `nbh-${Math.random().toString(36).slice(2)}`;
  sources.forEach((one, index) => {
    const choice = make("label", {});
    const button = make("input", { type: "radio", name: group, value: index });
    button.checked = index === 0;
    on(button, "change", () => choose(index));
    choice.append(button, make("span", {}, one.name));
    switcher.append(choice);
  });

  /** Write all that stands still in the chosen language. */
  function speak(chosen, names = []) {
    language = chosen;
    box.lang = language;
    const bring = options.pictures ? ` ${word("how_to_bring")}` : "";
    canvas.setAttribute("aria-description", word("how_to") + bring);
    canvas.setAttribute("aria-roledescription", word("role"));
    const labels = [
      [canvas, "paper"], [width, "pen_width"], [chooser, "picture"], [list, "likeliest"], [label, "keep_as"],
    ];
    for (const [element, key] of labels) element.setAttribute("aria-label", word(key));
    const texts = [
      [undoButton, "undo"], [clearButton, "clear"], [penText, "pen"], [pictureButton, "picture"],
      [keepThis, "keep_this"],
      [keepButton, "keep"], [checkButton, options.keeps ? "keep" : "check"], [legend, "what_to_draw"], [seenText, "sees"],
    ];
    for (const [element, key] of texts) element.textContent = word(key);
    names.forEach((name, i) => (switcher.querySelectorAll("span")[i].textContent = name));
    sizeNib();
    describe();
    if (task) setTask(task);
    again();
  }

  // ------------------------------------------------------------------------------ drawing

  function paint(target, scale) {
    const pencil = target.getContext("2d");
    pencil.setTransform(scale, 0, 0, scale, 0, 0);
    pencil.fillStyle = "#fff";
    pencil.fillRect(0, 0, SIDE, SIDE);
    if (photo) {
      const fit = SIDE / Math.max(photo.width, photo.height);
      const [wide, high] = [photo.width * fit, photo.height * fit];
      pencil.drawImage(photo, (SIDE - wide) / 2, (SIDE - high) / 2, wide, high);
    }
    pencil.strokeStyle = pencil.fillStyle = "#14161a";
    pencil.lineCap = pencil.lineJoin = "round";
    for (const stroke of open ? [...strokes, open] : strokes) trace(pencil, stroke);
  }

  let guided = null; // what lies over the paper
  function guide(element) {
    guided?.remove();
    guided = element;
    if (element) {
      element.classList.add("nbh-guide");
      paper.append(element);
    }
    redraw();
  }

  let frame = 0;
  function redraw() {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const pixels = Math.round((canvas.clientWidth || SIDE) * (window.devicePixelRatio || 1));
      if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
      paint(canvas, pixels / SIDE);
    });
    const empty = !strokes.length && !open && !photo;
    hint.hidden = !empty || Boolean(guided);
    undoButton.disabled = clearButton.disabled = checkButton.disabled = empty;
    keepButton.disabled = empty;
    const at = (value) => `${(100 * value) / SIDE}%`;
    Object.assign(mark.style, { left: at(cursor[0]), top: at(cursor[1]) });
    mark.classList.toggle("nbh-down", Boolean(open) && pointer === null);
  }

  function drawing() {
    if (photo) return photo;
    const target = document.createElement("canvas");
    target.width = target.height = PICTURE;
    target.getContext("2d", { willReadFrequently: true }); // it is made to be read
    paint(target, PICTURE / SIDE);
    return target;
  }

  function picture() {
    return new Promise((resolve) => drawing().toBlob(resolve, "image/png"));
  }

  function place(event) {
    const edge = canvas.getBoundingClientRect();
    const scale = SIDE / edge.width;
    return [(event.clientX - edge.left) * scale, (event.clientY - edge.top) * scale];
  }

  on(canvas, "pointerdown", (event) => {
    if (event.pointerType === "pen") {
      penSeen = event.timeStamp;
      if (pointer !== null) open = pointer = null; // the palm came first: its touch is no stroke
    }
    const palm = event.pointerType === "touch" && event.timeStamp - penSeen < PALM;
    if (open || palm || event.button !== 0) return;
    if (event.pointerType !== "pen" && !event.isPrimary) return; // a second finger
    event.preventDefault(); // no selecting of text, no focus ring for the mouse
    canvas.focus({ preventScroll: true });
    box.classList.remove("nbh-keys");
    canvas.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    leavePhoto();
    open = { width: Number(width.value), points: [place(event)] };
    redraw();
  });
  on(canvas, "pointermove", (event) => {
    if (event.pointerType === "pen") penSeen = event.timeStamp;
    if (event.pointerId !== pointer) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) {
      const [x, y] = place(move);
      const [lastX, lastY] = open.points.at(-1);
      if (Math.hypot(x - lastX, y - lastY) > 0.5) open.points.push([x, y]);
    }
    redraw();
  });
  on(canvas, "pointercancel", (event) => {
    if (event.pointerId !== pointer) return;
    open = pointer = null; // the browser took it for a palm or a gesture
    redraw();
  });
  for (const type of ["pointerup", "lostpointercapture"]) {
    on(canvas, type, (event) => {
      if (event.pointerId === pointer) finish();
    });
  }
  on(canvas, "contextmenu", (event) => event.preventDefault()); // of a long touch

  function finish() {
    if (!open) return;
    strokes.push(open);
    open = pointer = null;
    changed();
  }

  function undo() {
    if (open) open = pointer = null;
    else if (photo) photo = null;
    else strokes.pop();
    changed();
  }

  function clear() {
    strokes = [];
    photo = open = pointer = null;
    changed();
  }

  /** Draw where a photo was: a label that was chosen for it does not hold any longer. */
  function leavePhoto() {
    if (photo) chosen = false;
    photo = null;
  }

  /** Take a file's picture in place of the drawing. */
  async function bring(file) {
    const mine = ++brought;
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (mine !== brought) return; // another one came meanwhile
    if (!bitmap) {
      trouble = word("unopened");
      say(trouble);
      return;
    }
    const scale = Math.min(1, LARGE / Math.max(bitmap.width, bitmap.height));
    const target = document.createElement("canvas");
    target.width = Math.max(1, Math.round(bitmap.width * scale));
    target.height = Math.max(1, Math.round(bitmap.height * scale));
    const pencil = target.getContext("2d", { willReadFrequently: true });
    pencil.imageSmoothingQuality = "high";
    pencil.drawImage(bitmap, 0, 0, target.width, target.height);
    pencil.globalCompositeOperation = "destination-over"; // behind what is transparent
    pencil.fillStyle = isLight(pencil.getImageData(0, 0, target.width, target.height)) ? "#000" : "#fff";
    pencil.fillRect(0, 0, target.width, target.height);
    strokes = [];
    open = pointer = null;
    photo = target;
    chosen = false;
    spoken.textContent = word("on_paper");
    changed();
  }

  if (options.pictures) {
    on(pictureButton, "click", () => chooser.click());
    on(chooser, "change", () => {
      const [file] = chooser.files;
      if (file) bring(file);
      chooser.value = ""; // the same may be chosen again
    });
    on(document, "paste", (event) => {
      const [file] = event.clipboardData.files;
      if (!file || !box.contains(document.activeElement)) return;
      event.preventDefault();
      bring(file);
    });
    on(canvas, "dragover", (event) => event.preventDefault()); // it may be dropped here
    on(canvas, "drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) bring(file);
    });
  }

  /** The drawing is another one: say so, and have it read. */
  function changed() {
    trouble = "";
    keepText.textContent = "";
    const empty = !strokes.length && !photo;
    if (empty) chosen = false;
    redraw();
    if (task || empty) {
      reset();
    } else {
      read();
    }
  }

  // ----------------------------------------------------------------------------- keyboard

  on(canvas, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isSpace = event.key === " ";
    if (!isSpace && !ARROWS[event.key] && event.key !== "Escape") return;
    if (pointer !== null) return;
    if (event.key === "Escape" && !open) return;
    event.preventDefault();
    box.classList.add("nbh-keys");
    if (ARROWS[event.key]) {
      held.add(event.key); // two at once move along the diagonal
      const step = event.shiftKey ? STEP / 4 : STEP;
      for (const key of held) {
        cursor = cursor.map((v, i) => Math.min(SIDE, Math.max(0, v + step * ARROWS[key][i])));
      }
      open?.points.push(cursor);
    } else if (!event.repeat) {
      if (open) {
        finish();
        spoken.textContent = word("pen_up");
      } else {
        leavePhoto();
        open = { width: Number(width.value), points: [cursor] };
        spoken.textContent = word("pen_down");
      }
    }
    redraw();
  });
  on(canvas, "keyup", (event) => held.delete(event.key));
  on(canvas, "focus", () => box.classList.toggle("nbh-keys", canvas.matches(":focus-visible")));
  on(canvas, "blur", () => {
    held.clear();
    box.classList.remove("nbh-keys");
    if (pointer === null) finish();
  });
  const isControl = (event, key) =>
    (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === key;
  const isUndo = (event) => isControl(event, "z");
  const isOurs = (event) => isUndo(event) || (options.pictures && isControl(event, "v"));
  on(box, "keydown", (event) => {
    if (!isUndo(event)) return;
    event.preventDefault();
    undo();
  });
  // JupyterLab would take arrows, Space and Enter for the notebook. It leaves alone what comes from
  // an element with this attribute; Ctrl+S and the like stay its own.
  on(
    window, "keydown",
    (event) => {
      const others = (event.ctrlKey || event.metaKey || event.altKey) && !isOurs(event);
      box.toggleAttribute("data-lm-suppress-shortcuts", !others);
    },
    { capture: true },
  );

  // ------------------------------------------------------------------------------ answers

  let again = () => {}; // shows the last answer once more
  let overdue = () => {};
  function expect(before) {
    clearTimeout(timer);
    overdue = () => {
      before?.();
      say(word(silence));
    };
    timer = setTimeout(overdue, patience);
  }

  async function read() {
    const mine = ++number;
    const blob = onDrawing ? null : await picture();
    if (mine !== number) return; // a stroke came meanwhile
    expect(() => blank(word("no_answer"))); // the one to an earlier drawing would mislead
    if (onDrawing) onDrawing(drawing(), { number: mine, source });
    else onPicture(blob, { number: mine, source, task: task?.number });
  }

  /** Show a sentence where nothing else was to be said. */
  function say(text) {
    message.textContent = text;
  }

  /** Take the last answer away. */
  function blank(caption) {
    headline.replaceChildren(make("div", { class: "nbh-caption" }, caption));
    headline.classList.remove("nbh-right-answer", "nbh-wrong-answer");
    rows([]);
    seenBox.classList.add("nbh-empty");
  }

  function reset() {
    number += 1; // what is still under way is no longer asked for
    clearTimeout(timer);
    again = () => {
      blank(word(task ? "unchecked" : "nothing"));
      const todo = options.keeps ? "keep" : "write";
      say(word(task ? `${todo}_${noun()}` : `read_${noun()}`));
    };
    again();
  }

  function noun() {
    return sources[source].noun ?? "letter";
  }

  function rows(choices) {
    list.replaceChildren();
    list.classList.toggle("nbh-empty", !choices.length);
    for (let i = 0; i < ROWS; i++) {
      const choice = choices[i];
      const row = make("li", choice ? {} : { "aria-hidden": "true" });
      const bar = make("span", { class: "nbh-bar", "aria-hidden": "true" });
      const fill = make("span", {});
      fill.style.width = `${100 * (choice?.probability ?? 0)}%`;
      bar.append(fill);
      row.append(
        choice ? glyph(choice) : make("span", { class: "nbh-glyph" }),
        make("span", { class: "nbh-name" }, choice ? name(choice) : ""),
        bar,
        make("span", { class: "nbh-percent" }, choice ? percent(choice.probability) : ""),
      );
      list.append(row);
    }
    list.classList.toggle("nbh-named", choices.some((choice) => name(choice)));
  }

  function show(answer) {
    if (answer.number !== undefined && answer.number !== number) return;
    clearTimeout(timer);
    again = () => shown(answer);
    again();
  }

  function shown(answer) {
    say(trouble);
    blank(answer.error ? word("unread") : "");
    const big = make("div", { class: "nbh-big" });
    if (answer.all?.length) {
      blank(word("one_by_one", { count: answer.all.length }));
      for (const { choices, sure } of answer.all) {
        big.append(glyph(choices[0]), ...(sure ? [] : [make("span", { class: "nbh-words" }, "?")]));
      }
      headline.append(big);
      return;
    }
    if (answer.error) {
      say(refused(answer.error, words.refusals, language));
      return;
    }
    const [best] = answer.choices;
    const add = (text) => big.append(make("span", { class: "nbh-words" }, text));
    const letter = (choice) => {
      big.append(glyph(choice));
      if (name(choice)) add(name(choice));
    };
    let caption = word("read_as");
    if (task) {
      const right = best.text === task.text;
      headline.classList.add(right ? "nbh-right-answer" : "nbh-wrong-answer");
      if (right) caption = word("read_right");
      letter(best);
      add(percent(best.probability));
      const place = answer.choices.findIndex((choice) => choice.text === task.text);
      if (place < 0) {
        say(word(`missed_${noun()}`));
      } else if (place > 0) {
        const share = percent(answer.choices[place].probability);
        say(word(`came_${noun()}`, { place: word(`place_${place + 1}`), percent: share }));
      }
    } else if (answer.sure) {
      letter(best);
      add(percent(best.probability));
    } else {
      caption = word("not_sure");
      letter(best);
      add(word("and"));
      letter(answer.choices[1]);
    }
    headline.replaceChildren(make("div", { class: "nbh-caption" }, caption), big);
    rows(answer.choices);
    if (answer.seen) {
      seen.src = answer.seen;
      const { side } = answer;
      seen.alt = word(side ? `sees_${noun()}` : "sees", { side });
      seenText.textContent = word(side ? "sees_side" : "sees", { side });
      seenBox.classList.remove("nbh-empty");
    }
    if (!chosen && !task) label.value = best.text;
  }

  // ----------------------------------------------------------------------- keep, task, source

  function choose(index) {
    source = index;
    describe();
    fillLabels();
    chosen = false;
    changed();
  }

  function describe() {
    const { title } = sources[source];
    about.textContent = title ? word("about", sources[source]) : "";
    hint.textContent = word(`hint_${noun()}`);
  }

  function fillLabels() {
    label.replaceChildren();
    for (const [text, latin] of sources[source].labels) {
      label.append(new Option(latin && latin !== text ? `${text}  ${latin}` : text, text));
    }
  }

  async function keep() {
    keepButton.disabled = true; // the same drawing is not kept twice by a double click
    canvas.focus({ preventScroll: true }); // it loses the focus
    expect(() => (keepButton.disabled = false));
    onKeep(await picture(), { number, source, label: label.value });
  }

  /** The drawing was kept, or not: {path} or {error}. */
  function kept(result) {
    if (result.number !== undefined && result.number !== number) return; // of an earlier drawing
    clearTimeout(timer);
    const { error } = result;
    keepText.textContent = error ? refused(error, words.refusals, language) : word("kept", result);
    keepText.classList.toggle("nbh-error", Boolean(result.error));
    if (result.error) keepButton.disabled = false;
  }

  function setTask(next) {
    const another = next.number !== task?.number;
    task = next;
    score.textContent = word(task.done ? "score" : "unscored", task);
    nextButton.textContent = word(`next_${noun()}`);
    wanted.replaceChildren(
      make("span", { class: "nbh-words" }, word(`task_${noun()}`)), glyph(task),
      make("span", { class: "nbh-words nbh-latin" }, name(task)),
    );
    if (!another && wanted.hasAttribute("role")) return;
    wanted.setAttribute("role", "status");
    label.value = task.text;
    clear();
  }

  on(undoButton, "click", () => {
    undo();
    if (undoButton.disabled) canvas.focus({ preventScroll: true }); // it has lost the focus
  });
  on(clearButton, "click", () => {
    clear();
    canvas.focus({ preventScroll: true }); // the button is now disabled and loses the focus
  });
  on(width, "input", sizeNib);
  on(label, "change", () => {
    chosen = true;
    keepText.textContent = "";
    keepButton.disabled = !strokes.length && !photo;
  });
  on(keepButton, "click", keep);
  on(checkButton, "click", read);
  on(nextButton, "click", () => {
    expect();
    onNext?.({ task: task.number });
  });

  function sizeNib() {
    nib.style.setProperty("--nbh-nib", `${width.value}px`);
    const values = { width: width.value, most: PEN.most };
    width.setAttribute("aria-valuetext", word("nib", values));
  }

  const sized = new ResizeObserver(redraw);
  sized.observe(canvas);
  choose(0);
  speak(language);

  return {
    show,
    kept,
    speak,
    guide,
    giveUp() {
      clearTimeout(timer);
      overdue();
    },
    setTask(next) {
      clearTimeout(timer);
      setTask(next);
    },
    destroy() {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      sized.disconnect();
      aborter.abort();
      box.remove();
    },
  };
}

// -------------------------------------------------------------------------------------- helpers

function make(tag, attributes, text) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function trace(pencil, { width, points }) {
  pencil.lineWidth = width;
  pencil.beginPath();
  if (points.length === 1) {
    pencil.arc(...points[0], width / 2, 0, 2 * Math.PI);
    pencil.fill();
    return;
  }
  pencil.moveTo(...points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    // through the middles, with the points themselves as handles: no corners
    const [x, y] = points[i];
    const [nextX, nextY] = points[i + 1];
    pencil.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  pencil.lineTo(...points.at(-1));
  pencil.stroke();
}

/** A letter: drawn from its strokes, because not every machine has a font for it; else as text. */
export function glyph({ text, transliteration, strokes }) {
  if (!strokes?.length) return make("span", { class: "nbh-glyph", lang: text < "\u0080" ? "en" : "ta" }, text);
  const said = transliteration && transliteration !== text ? `${text}, ${transliteration}` : text;
  const all = strokes.flat();
  const [xs, ys] = [0, 1].map((axis) => all.map((point) => point[axis]));
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  const [wide, high] = [Math.max(...xs) - x, Math.max(...ys) - y];
  const pen = 34;
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const set = (element, attributes) => {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  set(svg, {
    class: "nbh-glyph", role: "img", "aria-label": said,
    viewBox: `${x - pen} ${y - pen} ${wide + 2 * pen} ${high + 2 * pen}`,
  });
  // The strokes have about 420 units to an em; they say how large a letter is beside others.
  const em = (units) => `${((units + 2 * pen) / 340).toFixed(3)}em`;
  Object.assign(svg.style, { width: em(wide), height: em(high) });
  const lines = strokes.map((stroke) => {
    const path = stroke.length > 1 ? stroke : [stroke[0], stroke[0]]; // a round cap is the dot
    return `M${path.map((point) => point.join(" ")).join("L")}`;
  });
  svg.append(
    set(document.createElementNS(space, "path"), {
      d: lines.join(""), fill: "none", stroke: "currentColor", "stroke-width": pen,
      "stroke-linecap": "round", "stroke-linejoin": "round",
    }),
  );
  return svg;
}

/** Return whether a picture is transparent but for light strokes: they stood on something dark. */
function isLight({ data }) {
  let [visible, light] = [0, 0];
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 128) continue;
    visible += 1;
    light += (data[i] + data[i + 1] + data[i + 2]) / 3;
  }
  return visible <= data.length / 8 && light > 160 * visible;
}

/** A refusal of `ink` in another language; it is known by its English sentence. */
function refused(error, refusals, language) {
  const { expected, ...reasons } = refusals;
  const reason = Object.values(reasons).find(({ en }) => error.includes(en));
  if (!reason || language === "en") return error;
  return `${error.match(/\d+ /)?.[0] ?? ""}${reason[language]} ${expected[language]}`;
}

function name({ text, transliteration }) {
  return transliteration && transliteration !== text ? transliteration : "";
}

function percent(probability) {
  const rounded = Math.round(100 * probability);
  if (rounded === 0) return "< 1 %".replaceAll(" ", "\u2009");
  if (rounded === 100 && probability < 1) return "> 99 %".replaceAll(" ", "\u2009");
  return `${rounded}\u2009%`;
}

// --------------------------------------------------------------------------------- for Jupyter

function render({ model, el }) {
  // The same pad may be shown twice on a page: each asks under a name of its own.
  const view = Math.random().toString(36).slice(2);
  const send = async (kind, about = {}, blob = null) => {
    const buffers = blob ? [await blob.arrayBuffer()] : [];
    try {
      model.send({ kind, view, ...about }, undefined, buffers);
    } catch {
      pad.giveUp(); // the connection is closed
    }
  };
  const pad = createPad(el, {
    ...model.get("options"),
    task: model.get("task"),
    pictures: true,
    language: navigator.language.startsWith("ta") ? "ta" : "en",
    silence: "silence_kernel",
    onPicture: (blob, about) => send("picture", about, blob),
    onKeep: (blob, about) => send("keep", about, blob),
    onNext: (about) => send("next", about),
  });
  const receive = (content) => {
    if (content.view !== view) return;
    if (content.kind === "answer") pad.show(content);
    if (content.kind === "kept") pad.kept(content);
  };
  const retask = () => pad.setTask(model.get("task"));
  model.on("msg:custom", receive);
  model.on("change:task", retask);
  return () => {
    model.off("msg:custom", receive);
    model.off("change:task", retask);
    pad.destroy();
  };
}

export default { render };
