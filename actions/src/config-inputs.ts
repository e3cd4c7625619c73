import { type ConfigChanges, parseHealthcheck } from "@stowage/image";
import { argv, lines, pairs, parsed, text } from "./inputs.js";

/** What the image runs, and how. */
export function configInputs(): Omit<ConfigChanges, "created"> {
  return {
    author: text("author"),
    entrypoint: argv("entrypoint"),
    cmd: argv("cmd"),
    env: lines("env"),
    workdir: text("workdir"),
    user: text("user"),
    labels: pairs("labels"),
    exposedPorts: lines("expose"),
    volumes: lines("volume"),
    stopSignal: text("stop-signal"),
    healthcheck: parsed("healthcheck", () =>
      parseHealthcheck({
        test: text("healthcheck")?.startsWith("[") === true ? [text("healthcheck") ?? ""] : lines("healthcheck"),
        interval: text("health-interval"),
        timeout: text("health-timeout"),
        startPeriod: text("health-start-period"),
        retries: text("health-retries"),
      }),
    ),
  };
}
