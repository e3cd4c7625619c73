const require=process.getBuiltinModule("module").createRequire(import.meta.url);
import{a as o,c as r,d as f}from"./chunk-FJJV6L5K.mjs";import"./chunk-SO2YFWGU.mjs";import"./chunk-TLLPONXK.mjs";r?.on("message",t=>{let e=o(t,{level:f.level,mem:4,mtime:0}),m=e.byteLength===e.buffer.byteLength?e:e.slice();r?.postMessage({output:m,input:t},[m.buffer,t.buffer])});
