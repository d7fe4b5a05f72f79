(() => {
  const PAGE = 50;
  const [SYSTEM, CASE, GROUP, TEXT, SCORES, UNSCORED, REPLIES, ATTEMPTS, REFERENCE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const { sets, transcripts, say } = JSON.parse(document.getElementById("data").textContent);
  const byId = (name) => document.getElementById(name);
  const form = byId("filter");
  let found = [];
  let first = 0;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fill = (select, all, names) => {
    const options = names.map((name, i) => new Option(name || say.none, i));
    select.replaceChildren(...(all === null ? [] : [new Option(all, "")]), ...options);
  };
  const filled = (text, parts) => text.replace(/\{(\w+)\}/g, (place, name) => parts[name]);
  const shownScore = (score) => String(Math.round(score * 100) / 100);
  const current = () => sets[form.set.value];

  const chosen = () => {
    const set = current();
    fill(form.system, say.all_systems, set.systems);
    fill(form.beside, say.nothing_beside, set.systems);
    fill(form.group, say.all_groups, set.groups);
    fill(form.criterion, null, set.criteria);
    form.criterion.value = set.criteria.length - 1;
    for (const end of [form.low, form.high]) [end.min, end.max] = set.range;
    form.group.hidden = set.groups.length < 2;
  };

  const lowered = new Map();
  const letters = (text) => {
    if (!lowered.has(text)) lowered.set(text, transcripts[text].map((turn) => turn[1]).join("\n").toLowerCase());
    return lowered.get(text);
  };

  const others = () => {
    const there = new Map();
    if (form.beside.value === "") return there;
    for (const row of current().rows) {
      if (row[SYSTEM] === +form.beside.value) there.set(row[CASE], [...(there.get(row[CASE]) || []), row]);
    }
    return there;
  };

  const wanted = (beside) => {
    const criterion = +form.criterion.value;
    const text = form.words.value.trim().toLowerCase();
    const state = form.state.value;
    const score = (row) => (row && row[SCORES] ? row[SCORES][criterion] : null);
    return (row) => {
      if (form.system.value !== "" && row[SYSTEM] !== +form.system.value) return false;
      if (form.beside.value !== "" && form.system.value === "" && row[SYSTEM] === +form.beside.value) return false;
      if (form.group.value !== "" && row[GROUP] !== +form.group.value) return false;
      const own = score(row);
      if (form.low.value !== "" && (own === null || own < +form.low.value)) return false;
      if (form.high.value !== "" && (own === null || own > +form.high.value)) return false;
      if (state === "scored" && own === null) return false;
      if (state === "unscored" && own !== null) return false;
      if (state === "lower" || state === "higher") {
        const other = score((beside.get(row[CASE]) || [])[0]);
        if (own === null || other === null || (state === "lower" ? own >= other : own <= other)) return false;
      }
      return !text || letters(row[TEXT]).includes(text) || row[REPLIES].join("\n").toLowerCase().includes(text);
    };
  };

  const side = (row) => {
    const set = current();
    const made = element("div", "side");
    made.append(element("b", "", set.systems[row[SYSTEM]] || say.none));
    const told = row[SCORES] ? set.criteria.map((name, i) => name + " " + shownScore(row[SCORES][i])).join(" · ") : filled(say.why_unscored, { why: row[UNSCORED] });
    made.append(element("p", row[SCORES] ? "quiet" : "unscored", told));
    const reference = row[REFERENCE] || []; // the page of compared systems has none
    if (reference.length) made.append(element("p", "quiet", say.given));
    for (const line of reference) made.append(element("pre", "", line));
    for (const [role, content] of transcripts[row[TEXT]]) {
      const turn = element("div", "turn " + role);
      turn.append(element("b", "quiet", say[role] || role), "\n" + content);
      made.append(turn);
    }
    row[REPLIES].forEach((reply, i) => {
      made.append(element("p", "quiet", row[REPLIES].length > 1 ? filled(say.sample, { n: i + 1 }) : say.reply));
      made.append(element("pre", "", reply || say.empty));
    });
    for (const reply of row[ATTEMPTS]) {
      made.append(element("p", "quiet", say.earlier), element("pre", "", reply || say.empty));
    }
    return made;
  };

  const summary = (row) => {
    const set = current();
    const overall = row[SCORES] ? shownScore(row[SCORES][set.criteria.length - 1]) : say.unscored;
    const made = element("summary", "", row[CASE] + " · " + (set.systems[row[SYSTEM]] || say.none) + " · ");
    made.append(element("b", row[SCORES] ? "" : "unscored", overall));
    const begin = (transcripts[row[TEXT]][0] || ["", ""])[1].slice(0, 60);
    made.append(element("span", "quiet", " " + (set.groups[row[GROUP]] ? set.groups[row[GROUP]] + " · " : "") + begin));
    return made;
  };

  const item = (row, beside) => {
    const made = element("details", "item");
    made.append(summary(row));
    made.addEventListener("toggle", () => {
      if (!made.open || made.childElementCount > 1) return;
      const sides = element("div", "sides");
      sides.append(side(row));
      if (form.beside.value !== "") {
        const there = beside.get(row[CASE]) || [];
        sides.append(...(there.length ? there.map(side) : [element("p", "side quiet", say.no_dialogue)]));
      }
      made.append(sides);
    });
    return made;
  };

  const show = () => {
    const beside = others();
    byId("list").replaceChildren(...found.slice(first, first + PAGE).map((row) => item(row, beside)));
    const last = Math.min(first + PAGE, found.length);
    byId("shown").textContent = filled(found.length ? say.range : say.count, { first: first + 1, last, n: found.length });
    byId("before").hidden = first === 0;
    byId("after").hidden = last === found.length;
  };

  const apply = () => {
    found = current().rows.filter(wanted(others()));
    first = 0;
    show();
  };

  const step = (by) => () => {
    first += by;
    show();
    byId("items").scrollIntoView();
  };

  fill(form.set, null, sets.map((set) => set.name));
  form.set.hidden = sets.length < 2;
  form.hidden = false;
  form.set.addEventListener("input", chosen);
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("before").addEventListener("click", step(-PAGE));
  byId("after").addEventListener("click", step(PAGE));
  chosen();
  apply();
})();
