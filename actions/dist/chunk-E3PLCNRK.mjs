const require=process.getBuiltinModule("module").createRequire(import.meta.url);
var n="0.1.0";export{n as a};
