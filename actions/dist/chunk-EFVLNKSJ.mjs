import{createRequire as __createRequire}from"node:module";const require=__createRequire(import.meta.url);
import{a,b,c,d,e}from"./chunk-VXQ5SYCO.mjs";import"./chunk-A3AFP23P.mjs";import"./chunk-657WUBJX.mjs";export{a as MAXIMUM_PATTERN,c as globPattern,d as isGlob,b as regexPattern,e as renameRule};
