for (const button of document.querySelectorAll("th > button"))
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0], place = head.cellIndex;
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
    const order = (a, b) => (a - b) || String(a).localeCompare(String(b), undefined, {numeric: true});
    const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * order(value(a), value(b)));
    body.append(...rows);
  });
for (const button of document.querySelectorAll("button.copy"))
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("code").textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; }
    catch { getSelection().selectAllChildren(button.parentElement.querySelector("code")); }
  });
