// The door: only the application's own page is answered, its arguments are asserted, and every
// answer has the form of the contract.

import { type IpcMainInvokeEvent, ipcMain } from 'electron';
import type { Answer, Requests } from '../preload/api.ts';
import { requestShapes } from './request_shapes.ts';
import { startUrl } from './rights.ts';

/** What answers the requests of the window; an error that is thrown becomes a refusal in words. */
export type Handlers = {
  readonly [K in keyof Requests]: (
    ...args: Parameters<Requests[K]>
  ) => ReturnType<Requests[K]> | Promise<ReturnType<Requests[K]>>;
};

export function answerWindow(handlers: Handlers): void {
  for (const name of Object.keys(requestShapes) as (keyof Requests)[]) {
    ipcMain.handle(name, (event, ...args: unknown[]) => {
      checkSender(event);
      return answer(() => Reflect.apply(handlers[name], handlers, checkedArguments(name, args)));
    });
  }
}

function checkedArguments(name: keyof Requests, args: readonly unknown[]): readonly unknown[] {
  const checked = requestShapes[name].safeParse(args);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  const where = issue === undefined ? '' : ` at ${issue.path.join('.')}: ${issue.message}`;
  throw new Error(`The window asked for ${name} in a way that does not exist${where}.`);
}

async function answer(work: () => unknown): Promise<Answer<unknown>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, error: error instanceof Error ? error.message : String(error) };
  }
}

function checkSender(event: IpcMainInvokeEvent): void {
  const frame = event.senderFrame;
  const isOwn = frame !== null && frame === frame.top && isSamePlace(frame.url, startUrl);
  if (!isOwn) throw new Error('This page may not call the application.');
}

/** `URL.origin` is no help here: it is the same for every scheme that the web does not define. */
function isSamePlace(a: string, b: string): boolean {
  const [left, right] = [new URL(a), new URL(b)];
  return left.protocol === right.protocol && left.host === right.host;
}
