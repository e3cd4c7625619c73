// Attaches a number of referrers to one manifest, ten at a time, when it is told to begin; prints their digests.
import { attach } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";

const [, , reference, name, count] = process.argv;
const client = new RegistryClient({ credentials: false });
const repository = client.repository(reference);
const subject = await repository.resolve("v1");
console.log("ready");
await new Promise((resolve) => process.stdin.once("data", resolve));
for (let at = 0; at < Number(count); at += 10) {
  const attached = await Promise.all(
    Array.from({ length: 10 }, (_, more) =>
      attach(repository, subject, {
        artifactType: "application/vnd.example.note",
        annotations: { "com.example.name": `${name}-${at + more}` },
      }),
    ),
  );
  for (const { descriptor } of attached) console.log(descriptor.digest);
}
await client.close();
process.exit(0);
