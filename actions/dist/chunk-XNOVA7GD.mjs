const require=process.getBuiltinModule("module").createRequire(import.meta.url);
var e=process.getBuiltinModule("readline"),t=e.createInterface;export{t as a};
