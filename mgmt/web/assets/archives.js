// The table of archives: searched, sorted, in pages. Only the rows of one page are in the document.

(() => {
  const PAGE = 25;
  const { rows, stores, classes } = data("archives");
  const NAME = 0, STORE = 1, CLASS = 2, BYTES = 3, ORIGINAL = 4, ARCHIVED = 5, PROVEN = 6, TAGS = 7;

  const table = document.getElementById("archive-table");
  const search = document.getElementById("archive-search");
  const found = document.getElementById("archive-found");
  const [back, forward] = ["archive-back", "archive-forward"].map((id) => document.getElementById(id));

  const texts = rows.map((row) =>
    [row[NAME], stores[row[STORE]], classes[row[CLASS]], row[TAGS]].join("\n").toLowerCase());
  const compare = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;
  const values = {
    name: (row) => row[NAME],
    store: (row) => stores[row[STORE]],
    class: (row) => classes[row[CLASS]],
    size: (row) => row[BYTES],
    original: (row) => row[ORIGINAL] ?? -1,
    archived: (row) => row[ARCHIVED],
    proven: (row) => row[PROVEN] ?? -1,
  };

  let sorted = rows.map((_, index) => index);
  let shown = sorted;
  let first = 0;

  function cells(row) {
    const name = element("th", { scope: "row", class: "name" }, row[NAME]);
    if (row[TAGS]) name.append(element("small", {}, row[TAGS]));
    return [
      name,
      element("td", { class: "number" }, size(row[BYTES])),
      element("td", { class: "number" }, row[ORIGINAL] === null ? "" : size(row[ORIGINAL])),
      element("td", {}, classes[row[CLASS]]),
      element("td", { class: "name" }, stores[row[STORE]]),
      element("td", { class: "nowrap" }, moment(row[ARCHIVED])),
      element("td", { class: "nowrap" }, row[PROVEN] === null ? "never" : moment(row[PROVEN])),
    ];
  }

  function show() {
    const page = shown.slice(first, first + PAGE);
    table.tBodies[0].replaceChildren(...page.map((index) => element("tr", {}, ...cells(rows[index]))));
    const last = first + page.length;
    found.textContent = shown.length === 0
      ? "No archive has all of these words."
      : `${number(first + 1)} to ${number(last)} of ${number(shown.length)}`;
    back.disabled = first === 0;
    forward.disabled = last >= shown.length;
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = sorted.filter((index) => words.every((word) => texts[index].includes(word)));
    first = 0;
    show();
  }

  function sort(column, up) {
    const value = values[column];
    const order = typeof value(rows[0]) === "string" ? compare : (a, b) => a - b;
    sorted = rows.map((_, index) => index).sort((a, b) => up * order(value(rows[a]), value(rows[b])) || a - b);
    filter();
  }

  for (const head of table.tHead.querySelectorAll("th")) {
    const button = element("button", { type: "button", class: "sort" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      table.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
      const start = head.dataset.first;
      const now = before !== start ? start : start === "ascending" ? "descending" : "ascending";
      head.setAttribute("aria-sort", now);
      sort(head.dataset.column, now === "ascending" ? 1 : -1);
    });
  }

  function turn(by) {
    first += by;
    show();
    table.scrollIntoView({ block: "start" });
  }

  search.addEventListener("input", filter);
  back.addEventListener("click", () => turn(-PAGE));
  forward.addEventListener("click", () => turn(PAGE));
  filter();
})();
