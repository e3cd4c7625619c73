const require=process.getBuiltinModule("module").createRequire(import.meta.url);
import{c as e}from"./chunk-TLLPONXK.mjs";var o=e((n,r)=>{r.exports=()=>{throw new Error("HTTP/2 is not spoken here")}});export{o as a};
