/**
 * The frame of the HTML report: style, script and head of one self-contained file. In: title and body. Out: a document that loads
 * nothing, in which no other script and no other style works (their hashes stand in its policy).
 */
import { createHash } from 'node:crypto';
import { escaped } from './report_charts.js';

const style = `
:root{color-scheme:light dark;--ground:#fff;--raised:#f6f8fa;--text:#1c2128;--soft:#57606a;--line:#d5dbe1;--blue:#0b61c4;
--green:#1a7f37;--orange:#b35900;--red:#c0262d;--violet:#7d3fc8;--area:#0b61c42b}
@media (prefers-color-scheme:dark){:root{--ground:#12161b;--raised:#1a2027;--text:#e4e9ee;--soft:#9aa6b2;--line:#323b45;
--blue:#6cb0ff;--green:#57c374;--orange:#f0a04b;--red:#ff7b79;--violet:#c49bff;--area:#6cb0ff30}}
*{box-sizing:border-box}
html{scroll-padding-top:3.2rem}
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main,header>div,nav>div{max-width:1500px;margin:0 auto;padding:0 20px}
header{padding:22px 0 12px}
h1{font-size:1.5rem;margin:0 0 .3rem;line-height:1.25}
h2{font-size:1.15rem;margin:2.4rem 0 .7rem;line-height:1.3}
h3{font-size:1rem;margin:1.4rem 0 .5rem}
p{margin:.4rem 0}
.soft{color:var(--soft)}
.small{font-size:.8rem}
.wrapany{overflow-wrap:anywhere}
nav{position:sticky;top:0;z-index:2;background:var(--ground);border-bottom:1px solid var(--line)}
nav>div{display:flex;gap:.2rem 1.1rem;overflow-x:auto;scrollbar-width:thin;white-space:nowrap;padding-top:.5rem;padding-bottom:.5rem}
a{color:var(--blue);text-decoration:none}
a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--blue);outline-offset:2px;border-radius:3px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px;margin:1rem 0 0;padding:0}
.cards div{background:var(--raised);border:1px solid var(--line);border-radius:8px;padding:.6rem .8rem}
.cards dt{color:var(--soft);font-size:.85rem}
.cards dd{margin:0;font-size:1.3rem;font-weight:600;line-height:1.35;font-variant-numeric:tabular-nums}
.cards dd+dd{font-size:.85rem;font-weight:400;color:var(--soft)}
.cards .bad dd:first-of-type{color:var(--red)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,560px),1fr));gap:8px 28px}
.pair>*{min-width:0}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.35rem .6rem}
th,td{padding:.32rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--line);white-space:nowrap}
thead th{border-top:0;background:var(--raised);font-weight:600}
tbody tr:hover{background:var(--raised)}
.n{text-align:right}
td.n{padding-right:1.3rem}
td.sql{white-space:normal;min-width:min(26rem,70vw);width:100%}
td.wide{width:60%}
td.sql code,td.sql a{overflow-wrap:anywhere}
.clamp{display:-webkit-box;-webkit-line-clamp:2;-webkit-box-orient:vertical;overflow:hidden}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;margin:0;cursor:pointer;font-weight:600}
th button::after{content:"";display:inline-block;width:.7rem;text-align:right;color:var(--soft)}
th[aria-sort=descending] button::after{content:"\\2193";color:var(--blue)}
th[aria-sort=ascending] button::after{content:"\\2191";color:var(--blue)}
code,pre{font:13px/1.45 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:.4rem 0;padding:.6rem .8rem;background:var(--raised);border:1px solid var(--line);border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere;max-height:22rem;overflow-y:auto}
details{border:1px solid var(--line);border-radius:8px;margin:.45rem 0;padding:0 .8rem}
details[open]{padding-bottom:.7rem}
summary{cursor:pointer;padding:.45rem 0}
summary code{overflow-wrap:anywhere}
.tag{display:inline-block;border:1px solid var(--line);border-radius:10px;padding:0 .5em;font-size:.8rem;color:var(--soft);margin-right:.35em}
.bad{color:var(--red)}
.empty{color:var(--soft);border:1px dashed var(--line);border-radius:8px;padding:.7rem .9rem}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:.4rem 0;font-variant-numeric:tabular-nums}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
figure.chart{margin:.4rem 0 1.1rem}
figcaption{font-weight:600;font-size:.92rem;margin-bottom:.35rem}
.legend{font-weight:400;font-size:.85rem;margin-left:.6rem;display:inline-flex;flex-wrap:wrap;gap:0 .9rem}
.key::before{content:"";display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.35em;background:currentColor}
.plot{display:flex;gap:.5rem;height:170px}
.ticks{display:flex;flex-direction:column;justify-content:space-between;text-align:right;width:4.6rem;flex:none;font-size:.78rem;
color:var(--soft);line-height:1;margin:-.39rem 0;font-variant-numeric:tabular-nums}
.plot svg{flex:1;min-width:0;height:100%;overflow:visible}
.ends{display:flex;gap:.6rem;white-space:nowrap;justify-content:space-between;font-size:.78rem;color:var(--soft);padding-left:5.1rem;margin-top:.3rem}
svg .grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
svg .line{fill:none;stroke:currentColor;stroke-width:1.6;vector-effect:non-scaling-stroke}
svg .area{fill:var(--area);stroke:currentColor;stroke-width:1.4;vector-effect:non-scaling-stroke}
svg .tip{fill:transparent}
svg .tip:hover{fill:var(--area)}
.rate{color:var(--blue)}.error{color:var(--red)}.mean{color:var(--green)}.p95{color:var(--orange)}.max{color:var(--violet)}
svg rect.rate,svg rect.error{fill:currentColor}
svg.bar{display:block;width:100%;min-width:6rem;height:.8rem;margin-top:.28rem}
svg.spark{display:block;width:min(100%,460px);height:56px;border-bottom:1px solid var(--line);margin:.5rem 0 0}
footer{margin:2.5rem 0 2rem;color:var(--soft);font-size:.85rem}
@media (max-width:600px){main,header>div,nav>div{padding-left:12px;padding-right:12px}.cards{grid-template-columns:1fr 1fr}
.cards dd{font-size:1.1rem}.plot{height:130px}.ticks{width:3.9rem}.ends{padding-left:4.4rem}.facts{grid-template-columns:1fr;gap:0}
.facts dd{margin-bottom:.35rem}td.sql{min-width:15rem}td.wide{width:auto}svg.bar{min-width:4rem}}
@media print{nav{display:none}.scroll{overflow:visible}}
`;

// Tables sort by a click or the keyboard (their headers are buttons); a link to a statement opens it.
const script = `
document.querySelectorAll('table.sortable').forEach(function(table){
  var heads=Array.prototype.slice.call(table.tHead.rows[0].cells);
  heads.forEach(function(head,column){
    var button=head.querySelector('button');
    if(!button)return;
    button.addEventListener('click',function(){
      var numbers=head.classList.contains('n');
      var now=head.getAttribute('aria-sort');
      var order=now==='descending'?'ascending':now==='ascending'?'descending':numbers?'descending':'ascending';
      heads.forEach(function(other){other.removeAttribute('aria-sort')});
      head.setAttribute('aria-sort',order);
      var sign=order==='ascending'?1:-1;
      var body=table.tBodies[0];
      var rows=Array.prototype.slice.call(body.rows);
      var key=function(row){var cell=row.cells[column];var value=cell.getAttribute('data-v');
        return numbers?Number(value===null?cell.textContent:value):(value===null?cell.textContent:value).toLowerCase()};
      rows.map(function(row,i){return{row:row,key:key(row),i:i}}).sort(function(a,b){
        return a.key<b.key?-sign:a.key>b.key?sign:a.i-b.i}).forEach(function(one){body.appendChild(one.row)});
    });
  });
});
function openTarget(){var id=decodeURIComponent(location.hash.slice(1));var found=id&&document.getElementById(id);
  if(found&&found.tagName==='DETAILS'){found.open=true;found.querySelector('summary').focus({preventScroll:true});found.scrollIntoView()}}
addEventListener('hashchange',openTarget);
openTarget();
`;

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

export function page(title: string, body: string): string {
  const policy = `default-src 'none'; style-src ${hash(style)}; script-src ${hash(script)}; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
${body}
<script>${script}</script>
</body>
</html>
`;
}
