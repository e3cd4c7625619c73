const require=process.getBuiltinModule("module").createRequire(import.meta.url);
import{c as o}from"./chunk-TLLPONXK.mjs";var p=o((r,e)=>{e.exports=t=>t.length;e.exports.default=e.exports});export{p as a};
