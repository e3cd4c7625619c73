const require=process.getBuiltinModule("module").createRequire(import.meta.url);
var t=process.getBuiltinModule("assert"),o=t.notStrictEqual,e=t.ok,r=t.strictEqual;export{o as a,e as b,r as c};
