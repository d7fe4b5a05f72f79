(() => {
  const form = document.getElementById("filter");
  const items = [...document.querySelectorAll("details.item")];
  const said = document.getElementById("shown");
  const fits = (item) => {
    const marks = item.dataset.marks.replace(/-/g, "");
    const mark = form.run.value === "" ? marks : item.dataset.marks[form.run.value];
    const state = form.state.value;
    if (state === "differ" ? !(marks.includes("r") && /[wu]/.test(marks)) : state ? !mark.includes(state) : !/[wu]/.test(mark)) return false;
    if (form.subject.value !== "" && item.dataset.subject !== form.subject.value) return false;
    const words = form.words.value.trim().toLowerCase();
    return !words || item.textContent.toLowerCase().includes(words);
  };
  const apply = () => {
    let count = 0;
    for (const item of items) {
      item.hidden = !fits(item);
      count += !item.hidden;
    }
    said.textContent = said.dataset.say.replace("{count}", count).replace("{all}", items.length);
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
