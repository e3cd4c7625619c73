import{createRequire as __createRequire}from"node:module";const require=__createRequire(import.meta.url);
import{a as r}from"./chunk-Y54ER2H3.mjs";import"./chunk-2EJHYTXB.mjs";import{parentPort as f}from"node:worker_threads";f?.on("message",t=>{let e=r(t,{level:6,mem:4,mtime:0}),m=e.byteLength===e.buffer.byteLength?e:e.slice();f?.postMessage({output:m,input:t},[m.buffer,t.buffer])});
