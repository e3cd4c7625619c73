import{createRequire as __createRequire}from"node:module";const require=__createRequire(import.meta.url);
import{a as e,c as l,e as a}from"./chunk-657WUBJX.mjs";var f={};a(f,{default:()=>d});var d,g=l(()=>{d=e(t=>t.length,"default")});export{d as a,f as b,g as c};
