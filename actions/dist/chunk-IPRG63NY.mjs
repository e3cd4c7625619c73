const require=process.getBuiltinModule("module").createRequire(import.meta.url);
var o=process.getBuiltinModule("url"),t=o.fileURLToPath,e=o.pathToFileURL;export{t as a,e as b};
