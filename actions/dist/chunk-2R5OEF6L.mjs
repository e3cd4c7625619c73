const require=process.getBuiltinModule("module").createRequire(import.meta.url);
var e=process.getBuiltinModule("zlib"),o=e.crc32,t=e.createBrotliDecompress,c=e.gzip;export{o as a,t as b,c};
