// The box "Train it here" in JupyterLab: the site's own files, which the kernel sends.

const TYPES = { css: "text/css", js: "text/javascript", mjs: "text/javascript" };

function render({ model, el }) {
  let end = () => {};
  let begun = false;
  const receive = async ({ names, error }, buffers) => {
    if (begun) return; // another view has asked
    begun = true;
    try {
      if (error) throw new Error(error);
      const files = addresses(Object.fromEntries(names.map((name, i) => [name, buffers[i]])));
      end = await show(el, model.get("chapter"), files);
    } catch ({ message }) {
      el.append(`“Train it here”: ${message}`);
    }
  };
  model.on("msg:custom", receive);
  model.send({});
  return () => {
    model.off("msg:custom", receive);
    end();
  };
}

/** Give each file an address, as a server would; in scripts, what they import gets its own. */
function addresses(contents) {
  const made = {};
  function address(name) {
    const kind = name.split(".").pop();
    let content = contents[name];
    if (kind === "js") {
      content = new TextDecoder().decode(content);
      content = content.replace(/ from "\.[^"]*?([^"/]+)"/g, (_, other) => ` from "${address(other)}"`);
    }
    made[name] ??= URL.createObjectURL(new Blob([content], { type: TYPES[kind] ?? "" }));
    return made[name];
  }
  for (const name of Object.keys(contents)) address(name);
  return made;
}

async function show(el, chapter, files) {
  if (!globalThis.courseLanguage) {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, { src: files["words.js"], onload: resolve, onerror: reject });
      document.head.append(script);
    });
  }
  const language = globalThis.courseLanguage;
  const box = document.createElement("details");
  Object.assign(box, { className: "train train-lab", open: true });
  box.dataset.chapter = chapter;
  // JupyterLab would take keys such as x for the notebook; not from elements with this attribute.
  const keep = ({ target, ctrlKey, metaKey, altKey }) => {
    const others = ctrlKey || metaKey || altKey;
    if (box.contains(target)) target.toggleAttribute("data-lm-suppress-shortcuts", !others);
  };
  addEventListener("keydown", keep, { capture: true });
  const title = document.createElement("summary");
  language.follow((chosen) => {
    title.lang = chosen;
    title.textContent = language.say("box", "title");
  });
  box.append(title, language.createSwitch());
  el.append(box);
  const end = await (await import(files["box.js"])).open(box, files);
  return () => {
    removeEventListener("keydown", keep, { capture: true });
    end();
  };
}

export default { render };
