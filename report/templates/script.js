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
const copies = (button, node, text) => button.addEventListener("click", async () => {
  try { await navigator.clipboard.writeText(text()); button.textContent = "copied"; }
  catch { getSelection().selectAllChildren(node); }
});
for (const button of document.querySelectorAll("button.copy")) {
  const code = button.parentElement.querySelector("code");
  copies(button, code, () => code.textContent);
}
const line = row => [...row.cells].map(cell => cell.innerText.replace(/\s+/g, " ").trim()).join("\t");
for (const table of document.querySelectorAll(".scroll > table")) {
  const button = Object.assign(document.createElement("button"), {type: "button", className: "copy", textContent: "copy"});
  button.ariaLabel = `copy the table ${table.parentElement.ariaLabel}`;
  copies(button, table, () => [...table.rows].map(line).join("\n"));
  table.caption.append(" ", button);
}
