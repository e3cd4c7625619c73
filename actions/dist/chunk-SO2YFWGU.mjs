const require=process.getBuiltinModule("module").createRequire(import.meta.url);
var e=process.getBuiltinModule("module"),t=e.createRequire;export{t as a};
