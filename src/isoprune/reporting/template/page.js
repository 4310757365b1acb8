const { charts, themes, swap } = JSON.parse(document.getElementById("data").textContent);
const darkness = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map(); // chart element -> vega-embed result

const stateOf = (group) => ({
  hidden: [...group.querySelectorAll('.legend [aria-pressed="false"]')].map((button) => button.dataset.series),
  ratio: group.dataset.ratio,
});

// The specification in this colour scheme, with the state that the reader has chosen.
function specification(element) {
  const recolour = (_, value) => (darkness.matches && typeof value === "string" && swap[value]) || value;
  const spec = JSON.parse(JSON.stringify(charts[element.id]), recolour);
  const state = stateOf(element.closest(".group"));
  for (const param of spec.params ?? []) if (state[param.name] !== undefined) param.value = state[param.name];
  return spec;
}

async function draw(element) {
  drawn.get(element)?.finalize();
  const result = await vegaEmbed(element, specification(element), {
    mode: "vega-lite",
    renderer: "svg",
    config: darkness.matches ? themes.dark : themes.light,
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: element.id,
    tooltip: { theme: "custom" },
  });
  drawn.set(element, result);
}

function update(group, name) {
  const value = stateOf(group)[name];
  for (const [element, { view }] of drawn) {
    if (!group.contains(element)) continue;
    if ((charts[element.id].params ?? []).some((param) => param.name === name)) view.signal(name, value).runAsync();
  }
}

// Draw a chart when it comes near the window: a page of forty charts opens at once.
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      draw(target);
    }
  },
  { rootMargin: "600px" },
);
const elements = [...document.querySelectorAll(".chart")];
elements.forEach((element) => watcher.observe(element));
addEventListener("beforeprint", () => elements.filter((element) => !drawn.has(element)).forEach(draw));
darkness.addEventListener("change", () => [...drawn.keys()].forEach(draw));

for (const legend of document.querySelectorAll(".legend")) {
  const buttons = [...legend.querySelectorAll("button")];
  const show = (shown) => {
    // Nothing left to see: show everything again.
    const all = !buttons.some(shown);
    for (const button of buttons) button.setAttribute("aria-pressed", String(all || shown(button)));
    update(legend.closest(".group"), "hidden");
  };
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  for (const button of buttons) {
    button.addEventListener("click", () => show((other) => (other === button) !== pressed(other)));
    button.addEventListener("dblclick", () => show((other) => other === button));
  }
}

for (const input of document.querySelectorAll(".ratios input")) {
  input.addEventListener("change", () => {
    const group = input.closest(".group");
    group.dataset.ratio = input.value;
    for (const stage of group.querySelectorAll(".stage")) stage.hidden = stage.dataset.ratio !== input.value;
    update(group, "ratio");
  });
}
