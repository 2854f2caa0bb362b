# SPDX-License-Identifier: Apache-2.0
"""The style and the script of the page."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b1e23;--soft:#5b616b;--line:#d9dce1;--back:#fff;
--band:#f4f5f7;--link:#0b5cad}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e4e6ea;--soft:#a0a6b0;--line:#383d45;
--back:#16181d;--band:#1f2228;--link:#7ab7f5}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:70rem;padding:1.5rem 1.25rem 4rem;background:var(--back);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{margin:0 0 .5rem;font-size:1rem;font-weight:600;color:var(--soft)}
h2{margin:2.75rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line);font-size:1.35rem;
line-height:1.25}
h2 a{color:inherit;text-decoration:none}
h2 a:hover::after,h2 a:focus-visible::after{content:" #";color:var(--soft)}
p,ul{margin:.75rem 0;max-width:46rem;white-space:pre-line}
ul{padding-left:1.25rem;white-space:normal}
li{margin:.2rem 0;white-space:pre-line}
.lead{margin:0 0 .75rem;max-width:56rem;font-size:clamp(1.25rem,1rem + 1.4vw,1.85rem);
line-height:1.3;font-weight:600;letter-spacing:-.01em}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:1.25rem 0 0;padding:0;list-style:none;
max-width:none}
nav li{margin:0}
a{color:var(--link)}
.box{overflow:auto;max-width:100%;margin:1rem 0}
.table{width:fit-content;max-height:40rem;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;font-size:.875rem;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .75rem;text-align:left;vertical-align:top;font-weight:400;min-width:3.5rem;
max-width:26rem}
thead th{position:sticky;top:0;background:var(--band);border-bottom:1px solid var(--line);
font-weight:600;vertical-align:bottom;overflow-wrap:normal}
tbody tr+tr>*{border-top:1px solid var(--line)}
tbody tr:hover>*{background:var(--band)}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;margin:0;text-align:inherit;
cursor:pointer}
th button::after{content:"\\2195";margin-left:.3em;opacity:.35}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
figure{margin:1.25rem 0}
figure .box{margin:0}
svg{display:block;height:auto;max-width:max(100%,42rem)}
figcaption{margin-top:.4rem;max-width:46rem;font-size:.875rem;color:var(--soft)}
@media (max-width:30rem){body{padding:1rem .85rem 3rem}th,td{padding:.3rem .5rem;max-width:14rem}}
@media print{:root{--back:#fff}body{max-width:none;padding:0;font-size:10pt}nav,
th button::after{display:none}.table{max-height:none;overflow:visible;width:auto}
.box{overflow:visible}thead th{position:static}svg{max-width:100%}figure,tr{break-inside:avoid}
h2{break-after:avoid}}
"""

# Makes heads of tables buttons that sort: numbers by value, what is none last.
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const rows = [...body.rows];
  const value = (row, column) => {
    const cell = row.cells[column], text = cell.textContent.trim();
    const number = Number(cell.dataset.v ?? (text.replaceAll(",", "") || NaN));
    return [Number.isNaN(number) ? (text === "" || text === "-" ? 2 : 1) : 0, number, text];
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      body.append(...rows.map(row => [row, value(row, column)]).sort(([, a], [, b]) =>
        a[0] === 2 || b[0] === 2 ? a[0] - b[0] : sign * (a[0] - b[0]
          || (a[0] ? a[2].localeCompare(b[2], "en", {numeric: true}) : a[1] - b[1]))
      ).map(([row]) => row));
    });
  });
}
"""
