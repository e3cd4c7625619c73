const require=process.getBuiltinModule("module").createRequire(import.meta.url);
import{a,b,c,d,e}from"./chunk-LYL243YD.mjs";import"./chunk-64LFOVKC.mjs";import"./chunk-6VDCAKMX.mjs";import"./chunk-CKDR3U4R.mjs";import"./chunk-7VEBZCD4.mjs";import"./chunk-TLLPONXK.mjs";export{a as MAXIMUM_PATTERN,c as globPattern,d as isGlob,b as regexPattern,e as renameRule};
