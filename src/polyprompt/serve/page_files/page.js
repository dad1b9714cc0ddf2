// The page: what is asked stands in its fields, `ask` sends it, `show` draws what comes back.
"use strict";

const $ = (id) => document.getElementById(id);
const FOLD = 0.95, STEP = 40, WAIT = 150;
const state = {
  collections: [], hits: [], classes: null, top: STEP, sample: null, adapted: null,
  marks: new Map(), chosen: new Set(), last: null, open: null, asking: null, waiting: 0,
};

const here = () => state.collections.find((one) => one.id === $("collection").value);
const address = (rest) => `/collections/${encodeURIComponent(here().id)}/${rest}`;

function make(tag, facts = {}, ...children) {
  const { data, ...rest } = facts;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

async function fetched(path, body, signal) {
  const how = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  };
  const answer = await fetch(path, how);
  if (answer.status === 401 && path !== "/session") { await unlocked(); return fetched(path, body, signal); }
  if (answer.status === 204) return null;
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error.message);
  return said;
}

// The token: behind # in the address, or asked for; it becomes a cookie that scripts cannot read.

async function unlocked() {
  const words = new URLSearchParams(location.hash.slice(1));
  const token = words.get("token");
  if (token) {
    words.delete("token");
    history.replaceState(null, "", `#${words}`);
    try { return await fetched("/session", { token }); } catch { /* asked for below */ }
  }
  if (!$("key").open) $("key").showModal();
  return new Promise((done) => {
    $("key-form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await fetched("/session", { token: $("token").value });
        $("key").close();
        done();
      } catch (error) { $("key-message").textContent = error.message; }
    };
  });
}

// What is asked

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

function condition() {
  const parts = [];
  if ($("since").value) parts.push(`year >= ${Number($("since").value)}`);
  if ($("until").value) parts.push(`year <= ${Number($("until").value)}`);
  if ($("path").value.trim()) parts.push(`instr(lower(path), lower(${quoted($("path").value.trim())})) > 0`);
  if ($("where").value.trim()) parts.push(`(${$("where").value})`);
  return parts.length ? parts.join(" AND ") : null;
}

function weights() {
  const found = [...document.querySelectorAll("#aspects input")].map((slider) => Number(slider.value));
  return found.some((weight) => weight !== 1) ? found : null;
}

function question() {
  const asked = { collection: here().id, top: state.top, where: condition(), fold: $("fold").checked ? FOLD : null };
  const text = $("text").value.trim();
  if (state.adapted) asked.adapted = state.adapted;
  else if (text) asked.text = text;
  if (state.sample && "row" in state.sample) asked.like_rows = [state.sample.row];
  else if (state.sample) asked.like = [state.sample.uri];
  if (text || state.sample || state.adapted) {
    asked.weights = weights();
    if ($("unwanted").value.trim()) asked.not = [$("unwanted").value.trim()];
  }
  return asked;
}

function soon() {
  clearTimeout(state.waiting);
  state.top = STEP;
  state.waiting = setTimeout(ask, WAIT);
}

async function ask() {
  if (!here()) return;
  state.asking?.abort();  // the server lets go of it, too
  const asking = state.asking = new AbortController();
  noted();
  try {
    const asked = question();
    const { data, cut } = await fetched("/search", asked, asking.signal);
    const classes = await sorted(data, asking.signal);
    if (asking.signal.aborted) return;
    state.hits = data;
    state.classes = classes;
    show();
    const scored = data.length > 0 && data[0].score !== null;
    const found = data.length ? `${data.length} of ${here().pictures.toLocaleString()} pictures${scored ? ", best first" : ""}${state.adapted ? ", adapted to your marks" : ""}` : "";
    const long = cut.length || classes?.cut.length ? "The model reads only the beginning of a text this long." : "";
    showMessage([found, long].filter(Boolean).join(". "));
    $("further").hidden = data.length < asked.top || data.length >= here().pictures || asked.top >= 1000;
  } catch (error) {
    if (error.name !== "AbortError" && !asking.signal.aborted) showMessage(error.message, true);
  }
}

async function sorted(hits, signal) {
  const labels = [...new Set($("classes").value.split(",").map((name) => name.trim()).filter(Boolean))];
  if (labels.length < 2 || !hits.length) return null;
  const { data, cut } = await fetched(address("classify"), { rows: hits.map((hit) => hit.row), labels }, signal);
  return { labels, best: data.map((ranked) => ranked[0]), cut };
}

function showMessage(words, bad = false) {
  $("message").textContent = words;
  $("message").classList.toggle("bad", bad);
}

// Results

function show() {
  const results = $("results");
  results.replaceChildren();
  if (!state.hits.length) {
    results.append(make("p", { className: "empty", textContent: "Nothing fits. Ask for something else, or loosen the filter." }));
    return;
  }
  if (!state.classes) { results.append(grid(state.hits.map((hit) => [hit, null]))); return; }
  const groups = state.classes.labels.map((label) => [label, state.hits.map((hit, at) => [hit, state.classes.best[at]]).filter(([, best]) => best.label === label)]);
  for (const [label, found] of groups.sort((one, other) => other[1].length - one[1].length)) {
    if (!found.length) continue;
    found.sort((one, other) => other[1].score - one[1].score);
    results.append(make("h3", {}, label, " ", make("small", { textContent: found.length })), grid(found));
  }
}

function grid(found) {
  return make("ul", { className: "grid" }, ...found.map(([hit, best]) => tile(hit, best)));
}

function tile(hit, best) {
  const picture = make("img", { src: hit.thumbnail, alt: "", loading: "lazy", decoding: "async" });
  const figure = best ? `${Math.round(100 * best.score)} %` : hit.score === null ? "" : hit.score.toFixed(3);
  const name = make("span", { className: "name" }, make("span", { textContent: hit.name, title: hit.path }), make("span", { textContent: figure }));
  const open = make("button", { type: "button", className: "open", data: { act: "open" } }, picture, name);
  open.setAttribute("aria-label", `${hit.name} ${figure}`);
  const box = make("input", { type: "checkbox", checked: state.chosen.has(hit.row), data: { act: "choose" } });
  box.setAttribute("aria-label", `Select ${hit.name}`);
  const top = make("div", { className: "top" }, make("label", { title: "Select for export" }, box));
  top.append(marker(hit, "right", "✓"), marker(hit, "wrong", "✗"));
  const item = make("li", { className: "tile", data: { row: hit.row } }, open, top);
  dressed(item);
  return item;
}

function marker(hit, kind, sign) {
  const button = make("button", { type: "button", className: `mark ${kind}`, textContent: sign, title: `Mark ${kind}`, data: { act: kind } });
  button.setAttribute("aria-label", `Mark ${hit.name} ${kind}`);
  return button;
}

function dressed(item) {
  const row = Number(item.dataset.row);
  item.classList.toggle("chosen", state.chosen.has(row));
  item.classList.toggle("marked", state.marks.has(row));
  for (const button of item.querySelectorAll(".mark")) button.setAttribute("aria-pressed", button.dataset.act === state.marks.get(row));
}

const tiles = () => [...document.querySelectorAll(".tile")];
const hitOf = (row) => state.hits.find((hit) => hit.row === row);

function mark(row, kind) {
  if (state.marks.get(row) === kind) state.marks.delete(row); else state.marks.set(row, kind);
  tiles().forEach(dressed);
  marked();
}

function marked() {
  const counts = { right: 0, wrong: 0 };
  for (const kind of state.marks.values()) counts[kind] += 1;
  $("adapt").hidden = $("forget").hidden = !state.marks.size && !state.adapted;
  $("adapt").disabled = !counts.right || !counts.wrong;
  $("adapt").textContent = `Adapt to ${counts.right} ✓ ${counts.wrong} ✗`;
  $("adapt").title = $("adapt").disabled ? "Mark at least one picture right and one wrong" : "";
  if (!state.open) return;
  $("right").setAttribute("aria-pressed", state.marks.get(state.open.row) === "right");
  $("wrong").setAttribute("aria-pressed", state.marks.get(state.open.row) === "wrong");
}

function choose(row, box, range) {
  const rows = tiles().map((one) => Number(one.dataset.row));
  const [from, to] = [rows.indexOf(state.last), rows.indexOf(row)].sort((one, other) => one - other);
  const picked = range && from >= 0 ? rows.slice(from, to + 1) : [row];
  for (const one of picked) if (box.checked) state.chosen.add(one); else state.chosen.delete(one);
  state.last = row;
  for (const one of tiles()) {
    dressed(one);
    one.querySelector("input").checked = state.chosen.has(Number(one.dataset.row));
  }
  $("export").textContent = state.chosen.size ? `Export ${state.chosen.size} as CSV` : "Export CSV";
}

async function adapt() {
  const rows = (kind) => [...state.marks].filter(([, one]) => one === kind).map(([row]) => row);
  const text = $("text").value.trim() || null;
  $("adapt").disabled = true;
  showMessage("Adapting to your marks …");
  try {
    state.adapted = (await fetched(address("adapt"), { text, right: rows("right"), wrong: rows("wrong") })).id;
    await ask();
  } catch (error) { showMessage(error.message, true); }
  marked();
}

function forget() {
  state.marks.clear();
  state.adapted = null;
  tiles().forEach(dressed);
  marked();
}

function exported() {
  const facts = ["path", "score", "class", "mark", "kind", "width", "height", "date", "size", "camera"];
  const cell = (value) => {
    const text = String(value ?? "");
    return `"${(/^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text).replaceAll('"', '""')}"`;
  };
  const shown = state.hits.filter((hit) => !state.chosen.size || state.chosen.has(hit.row));
  const lines = shown.map((hit) => {
    const best = state.classes?.best[state.hits.indexOf(hit)];
    const all = { ...hit, class: best?.label, mark: state.marks.get(hit.row) };
    return facts.map((fact) => cell(all[fact])).join(",");
  });
  const link = make("a", { download: `${here().id}.csv`, href: URL.createObjectURL(new Blob([`${facts.join(",")}\n${lines.join("\n")}\n`], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// One picture, large

async function opened(hit) {
  state.open = hit;
  const picture = $("large-picture");
  picture.src = hit.thumbnail;
  picture.alt = hit.name;
  const whole = address(`pictures/${hit.row}`);
  const loading = make("img", { src: whole });
  loading.decode().then(() => { if (state.open === hit) picture.src = whole; }, () => {});
  $("large-name").textContent = [hit.path, ...hit.copies].join(", ");
  $("large-score").textContent = hit.score === null ? "" : `Score ${hit.score.toFixed(3)}`;
  const facts = { size: `${hit.width} × ${hit.height}, ${Math.ceil(hit.size / 1000).toLocaleString()} kB`, date: hit.date.replace("T", " "), camera: hit.camera, "near copies": hit.near || null };
  $("large-facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
  $("looks").replaceChildren();
  marked();
  if (!$("large").open) $("large").showModal();
  if (!here().attention) return;
  try {
    const { seen, data } = await fetched(address(`attention/${hit.row}`));
    if (state.open === hit) looks(hit, seen, data);
  } catch (error) { showMessage(error.message, true); }
}

function looks(hit, seen, data) {
  const furthest = Math.max(...Object.values(hit.aspects).map(Math.abs), 1e-9);
  $("looks").replaceChildren(...data.map(({ aspect, image }) => {
    const part = hit.aspects[aspect], share = hit.shares[aspect];
    const button = make("button", { type: "button", className: "look", title: "Where this aspect looks" }, make("img", { src: image, alt: `Where “${aspect}” looks` }));
    button.setAttribute("aria-pressed", "false");
    if (part !== undefined && hit.score !== null) {
      const bar = make("i", { className: part < 0 ? "minus" : "" });
      bar.style.width = `${100 * Math.abs(part) / furthest}%`;
      button.append(make("span", { className: "share" }, bar), make("b", { textContent: share === null || share === undefined ? part.toFixed(3) : `${Math.round(100 * share)} %` }));
    }
    button.append(shortened(aspect));
    button.addEventListener("click", () => {
      const off = button.getAttribute("aria-pressed") === "true";
      for (const other of document.querySelectorAll(".look")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", !off);
      $("large-picture").src = off ? address(`pictures/${hit.row}`) : image;
    });
    return button;
  }));
}

function turned(by) {
  const rows = tiles().map((one) => Number(one.dataset.row));
  const next = hitOf(rows[rows.indexOf(state.open.row) + by]);
  if (next) opened(next);
}

function shortened(aspect) {  // what prompts share says nothing beside a slider
  const all = here().aspects;
  if (all.length < 2) return aspect;
  const words = all.map((one) => one.split(" "));
  const least = Math.min(...words.map((one) => one.length));
  const same = (at) => words.every((one) => one.at(at) === words[0].at(at));
  let front = 0, back = 0;
  while (front < least - 1 && same(front)) front += 1;
  while (back < least - front - 1 && same(-1 - back)) back += 1;
  const own = aspect.split(" ");
  return own.slice(front, own.length - back).join(" ");
}

// A picture to search by

function sampled(sample) {
  state.sample = sample;
  state.adapted = null;
  $("sample").hidden = !sample;
  if (sample) $("sample-picture").src = sample.shown;
  soon();
}

const MOST = 1600;

async function dropped(file) {
  if (!file) return;
  try {
    const uri = await smaller(file);
    sampled({ uri, shown: uri });
  } catch { showMessage(`${file.name}: is not a picture that this browser can open.`, true); }
}

async function smaller(file) {
  const read = new FileReader();
  const whole = await new Promise((done, failed) => { read.onload = () => done(read.result); read.onerror = failed; read.readAsDataURL(file); });
  const picture = make("img", { src: whole });
  await picture.decode();
  const ratio = MOST / Math.max(picture.naturalWidth, picture.naturalHeight);
  if (ratio >= 1 || file.size < 4e6) return whole;  // the very bytes, so that a picture of the collection is known
  const canvas = make("canvas", { width: Math.round(picture.naturalWidth * ratio), height: Math.round(picture.naturalHeight * ratio) });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

// Fields

function entered() {
  const collection = here();
  const sliders = collection.aspects.length > 1 ? collection.aspects.map((aspect, at) => {
    const said = make("output", { textContent: "1.0" });
    const slider = make("input", { type: "range", min: 0, max: 2, step: 0.1, value: 1, id: `aspect-${at}` });
    slider.addEventListener("input", () => {
      said.textContent = Number(slider.value).toFixed(1);
      $("even").hidden = !weights();
      soon();
    });
    return make("div", { className: "aspect" }, make("label", { htmlFor: slider.id, textContent: shortened(aspect), title: aspect }), said, slider);
  }) : [];
  $("aspects").replaceChildren(...sliders);
  $("aspect-section").hidden = !sliders.length;
  $("even").hidden = true;
  $("columns").textContent = `A condition on ${collection.columns.join(", ")}.`;
  $("where").title = "As in SQL: year >= 2020 and name like 'a%'";
  state.chosen.clear();
  state.sample = null;
  $("sample").hidden = true;
  forget();
}

function noted() {
  const words = new URLSearchParams();
  words.set("in", here().id);
  for (const id of ["text", "unwanted", "classes", "since", "until", "path", "where"]) if ($(id).value.trim()) words.set(id, $(id).value);
  history.replaceState(null, "", `#${words}`);
}

function recalled() {
  const words = new URLSearchParams(location.hash.slice(1));
  for (const id of ["text", "unwanted", "classes", "since", "until", "path", "where"]) $(id).value = words.get(id) ?? "";
  if (state.collections.some((one) => one.id === words.get("in"))) $("collection").value = words.get("in");
}

function listen() {
  for (const id of ["unwanted", "classes", "since", "until", "path", "where", "fold"]) $(id).addEventListener("input", soon);
  $("text").addEventListener("input", () => { state.adapted = null; marked(); soon(); });
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(state.waiting); ask(); });
  $("collection").addEventListener("change", () => { entered(); soon(); });
  $("even").addEventListener("click", () => {
    for (const slider of document.querySelectorAll("#aspects input")) { slider.value = 1; slider.dispatchEvent(new Event("input")); }
  });
  $("more").addEventListener("click", () => $("more").setAttribute("aria-expanded", $("side").classList.toggle("open")));
  $("further").addEventListener("click", () => { state.top = Math.min(2 * state.top, 1000); ask(); });
  $("adapt").addEventListener("click", adapt);
  $("forget").addEventListener("click", () => { forget(); soon(); });
  $("export").addEventListener("click", exported);
  $("sample-gone").addEventListener("click", () => sampled(null));
  $("file").addEventListener("change", () => { dropped($("file").files[0]); $("file").value = ""; });
  $("results").addEventListener("click", (event) => {
    const act = event.target.closest("[data-act]"), item = event.target.closest(".tile");
    if (!act) return;
    const row = Number(item.dataset.row);
    if (act.dataset.act === "open") opened(hitOf(row));
    else if (act.dataset.act === "choose") choose(row, act, event.shiftKey);
    else mark(row, act.dataset.act);
  });
  $("right").addEventListener("click", () => mark(state.open.row, "right"));
  $("wrong").addEventListener("click", () => mark(state.open.row, "wrong"));
  $("similar").addEventListener("click", () => { $("large").close(); $("text").value = ""; sampled({ row: state.open.row, shown: state.open.thumbnail }); });
  $("large").addEventListener("close", () => {
    const row = state.open?.row;
    state.open = null;
    document.querySelector(`.tile[data-row="${row}"] .open`)?.focus();
  });
  document.addEventListener("keydown", keyed);
  for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => { event.preventDefault(); $("veil").hidden = false; });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("veil").hidden = true; });
  document.addEventListener("drop", (event) => { event.preventDefault(); $("veil").hidden = true; dropped(event.dataTransfer.files[0]); });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); dropped(event.clipboardData.files[0]); } });
}

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox]), select");
  if ($("large").open) {
    if (event.key === "ArrowRight") turned(1);
    else if (event.key === "ArrowLeft") turned(-1);
    else if (event.key === "r") mark(state.open.row, "right");
    else if (event.key === "w") mark(state.open.row, "wrong");
    return;
  }
  if (event.key === "/" && !typing) { event.preventDefault(); $("text").focus(); return; }
  const item = event.target.closest(".tile");
  if (!item) return;
  const all = tiles(), at = all.indexOf(item);
  const columns = all.filter((one) => one.offsetTop === all[0].offsetTop).length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (by) { event.preventDefault(); all[at + by]?.querySelector(".open").focus(); }
  else if (event.key === "r") mark(Number(item.dataset.row), "right");
  else if (event.key === "w") mark(Number(item.dataset.row), "wrong");
}

async function begin() {
  listen();
  try {
    state.collections = (await fetched("/collections")).data;
  } catch (error) { showMessage(error.message, true); return; }
  $("collection").append(...state.collections.map((one) => make("option", { value: one.id, textContent: one.id })));
  $("collection").hidden = state.collections.length < 2;
  if (!state.collections.length) { showMessage("No collection is served here, models alone: make one with polyprompt index."); return; }
  recalled();
  entered();
  await ask();
  $("text").focus();
}

begin();
