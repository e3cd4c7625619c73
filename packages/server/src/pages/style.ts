import { createHash } from "node:crypto";

/** The style of every page. Light or dark as the reader has it set. */
export const style = `
:root {
  color-scheme: light dark;
  --ground: #fcfcfb; --text: #1c1e21; --faint: #5c6470; --line: #d9dce1; --link: #0b57a8; --panel: #f2f3f5; --warn: #9a3412;
  --c0: #3b6fb5; --c1: #d08a2e; --c2: #4b9560; --c3: #a35aa8; --c4: #c25450; --c5: #3f9aa3; --c6: #8a7a3d; --c7: #7a6bc2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171a; --text: #e6e7e9; --faint: #9aa3ae; --line: #33383f; --link: #7db8f5; --panel: #1e2125; --warn: #f5a97f;
    --c0: #6a9de0; --c1: #e0a553; --c2: #6fb884; --c3: #c286c7; --c4: #e07f7b; --c5: #64bcc5; --c6: #b5a45e; --c7: #a093e6;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 0 1.25rem 3rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
a { color: var(--link); text-underline-offset: 0.15em; }
a:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--ground); padding: 0.5rem; }
header { border-bottom: 1px solid var(--line); padding: 0.9rem 0; }
header ol { display: flex; flex-wrap: wrap; gap: 0.25rem 0.5rem; list-style: none; margin: 0; padding: 0; }
header li + li::before { content: "/"; color: var(--faint); margin-right: 0.5rem; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 1.4rem 0 0.6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
code, pre, .digest, .name { font-family: ui-monospace, monospace; font-size: 0.875em; overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem; overflow: auto; max-height: 34rem;
  white-space: pre-wrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--faint); font-size: 0.875rem; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.once { white-space: nowrap; }
.faint { color: var(--faint); }
.warn { color: var(--warn); }
.tag { border: 1px solid var(--line); border-radius: 999px; padding: 0.05rem 0.55rem; font-size: 0.8125rem; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.25rem 1.25rem; margin: 0.5rem 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
details { margin: 0.5rem 0; }
summary { cursor: pointer; }
.picture { display: block; width: 100%; border-radius: 4px; }
td .picture { margin-top: 0.5rem; min-width: 6rem; }
.swatch { width: 0.8rem; height: 0.8rem; vertical-align: -0.05rem; border-radius: 2px; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.c4 { fill: var(--c4); } .c5 { fill: var(--c5); } .c6 { fill: var(--c6); } .c7 { fill: var(--c7); }
.track { fill: var(--panel); }
ul.tree, ul.tree ul { list-style: none; margin: 0; padding-left: 1.1rem; border-left: 2px solid var(--line); }
ul.tree { padding-left: 0.8rem; }
ul.tree li { margin: 0.45rem 0; }
nav.pages { display: flex; gap: 1.5rem; margin: 1rem 0; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: 0.4rem; } }
`;

/** What the Content-Security-Policy names the style by. */
export const styleHash = `'sha256-${createHash("sha256").update(style).digest("base64")}'`;
