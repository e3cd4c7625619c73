import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { findTool, scratch, stop } from "./peers.js";

/** What an answer of the browser may hold. */
type Answer = Readonly<Record<string, unknown>>;

/** A page in a headless Chromium, spoken to in the DevTools protocol over a pipe. */
export class Browser {
  /** What the browser complained of: a violation of the policy of a page, something that could not be loaded, an exception. */
  readonly complaints: string[] = [];
  readonly #child: ChildProcess;
  readonly #out: Writable;
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  #session = "";
  #last = 0;
  #loaded: () => void = () => {};

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#out = child.stdio[3] as Writable;
    let text = "";
    (child.stdio[4] as Readable).setEncoding("utf8").on("data", (chunk: string) => {
      const messages = (text + chunk).split("\0");
      text = messages.pop() as string;
      for (const message of messages) this.#take(JSON.parse(message));
    });
    child.once("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the browser has ended"));
    });
  }

  /** Starts one, with nothing of whoever runs the tests. */
  static async start(): Promise<Browser> {
    const home = await scratch();
    const options = [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
    ];
    const child = spawn(
      findTool("chromium") as string,
      [...options, "--hide-scrollbars", "--remote-debugging-pipe", `--user-data-dir=${join(home, "profile")}`],
      {
        stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
        env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home },
      },
    );
    const browser = new Browser(child);
    const { targetId } = await browser.#ask("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await browser.#ask("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = sessionId as string;
    for (const domain of ["Page", "Runtime", "Log", "Network", "Audits"]) await browser.#ask(`${domain}.enable`);
    await browser.resize(1000, 1100);
    return browser;
  }

  /** How large the page is shown, in pixels. */
  async resize(width: number, height: number): Promise<void> {
    await this.#ask("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  /** Shows pages as somebody wants them who has set this on the machine. */
  async prefer(scheme: "light" | "dark"): Promise<void> {
    await this.#ask("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** Pages may run no scripts, or as many as they have. */
  async allowScripts(allowed: boolean): Promise<void> {
    await this.#ask("Emulation.setScriptExecutionDisabled", { value: !allowed });
  }

  async open(url: string): Promise<void> {
    const loaded = new Promise<void>((resolve) => {
      this.#loaded = resolve;
    });
    const { errorText } = await this.#ask("Page.navigate", { url });
    if (errorText !== undefined) throw new Error(`${url}: ${errorText}`);
    await loaded;
  }

  /** Presses a key, and waits for the page that it leads to, if it `leads` to one. */
  async press(key: "Tab" | "Enter", leads = false): Promise<void> {
    const loaded = new Promise<void>((resolve) => {
      this.#loaded = resolve;
    });
    const code = { Tab: 9, Enter: 13 }[key];
    const text = key === "Enter" ? { text: "\r" } : {};
    for (const type of ["keyDown", "keyUp"])
      await this.#ask("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: code, ...text });
    if (leads) await loaded;
  }

  /** What an expression in JavaScript comes to in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#ask("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value: T }).value;
  }

  /** A picture of what can be seen, as a PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.#ask("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data as string, "base64");
  }

  close(): Promise<void> {
    return stop(this.#child);
  }

  #ask(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
    const id = ++this.#last;
    const session = this.#session === "" ? {} : { sessionId: this.#session };
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#out.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    });
  }

  #take(message: {
    id?: number;
    method?: string;
    params?: Answer;
    result?: Answer;
    error?: { message: string };
  }): void {
    const { id, method = "", params, result = {}, error } = message;
    if (id !== undefined) {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error.message));
    } else if (method === "Page.loadEventFired") this.#loaded();
    else if (
      ["Log.entryAdded", "Runtime.exceptionThrown", "Audits.issueAdded", "Page.javascriptDialogOpening"].includes(
        method,
      )
    )
      this.complaints.push(`${method} ${JSON.stringify(params)}`);
  }
}
