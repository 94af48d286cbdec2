/**
 * How model code is written: generators that yield before each step, registered by the name that
 * the kernel or the manual gives them, on one machine whose call stacks are part of its state.
 */
import { Arena } from './arena/arena.ts';
import type { RecordType } from './arena/fields.ts';
import { viewOf } from './arena/views.ts';
import { actorState } from './state/actor.ts';
import { limits } from './state/limits.ts';
import { layoutOf, type MachineView } from './state/machine.ts';
import { type MachineConfig, usualVm } from './state/machine_config.ts';
import { type Buffered, storesWaitWith } from './state/store_buffer.ts';
import type { SwitchId } from './state/switches.ts';
import { bufferStore, drainOldest, forwarded } from './store_buffer.ts';

/** Where a function is from: a path in the kernel tree, or a section of the manual. */
export type World = 'kvm' | 'linux' | 'sdm' | 'scenario';

export interface FunctionInfo {
  readonly name: string;
  readonly world: World;
  readonly source: string;
  /** the sites of its steps that ran so far, by label */
  readonly sites: Map<string, number>;
  /** where it stands before its first step: the site with the empty label */
  readonly entry: number;
}

/** A step of a function: what a stack frame stands at. */
export interface Site {
  readonly id: number;
  readonly function: string;
  readonly label: string;
}

const functions = new Map<string, FunctionInfo>();
const sites = new Map<number, Site>();

/** All registered functions by name. */
export const registeredFunctions = (): FunctionInfo[] =>
  [...functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1));

export const functionOf = (name: string): FunctionInfo | undefined => functions.get(name);
export const siteOf = (id: number): Site | undefined => sites.get(id);
/** The sites that have run in this process; a recording stores those that it needs. */
export const knownSites = (): Site[] => [...sites.values()];

/** 32-bit FNV-1a: an id that does not depend on what ran before, or in which order. */
const hashOf = (text: string): number => {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193);
  }
  return hash >>> 0;
};

const newSite = (info: Pick<FunctionInfo, 'name' | 'sites'>, label: string): number => {
  const id = hashOf(`${info.name}\n${label}`);
  const other = sites.get(id);
  if (other !== undefined && (other.function !== info.name || other.label !== label)) {
    throw new Error(
      `steps: reword "${label}" of ${info.name}: its id is that of ${other.function}`,
    );
  }
  sites.set(id, { id, function: info.name, label });
  info.sites.set(label, id);
  return id;
};

/** What a coroutine hands to the runner: a step, a step that waits, or a call. */
const STEP = 0;
const PARK = 1;
type Yielded = typeof STEP | typeof PARK | Call<unknown>;

export type Body<R> = Generator<Yielded, R, unknown>;

/**
 * A call in flight. `yield*` on it gives what the function returns; the runner sees the call,
 * pushes a stack frame and resumes only the innermost function.
 */
export class Call<R> implements Iterator<Yielded, R, unknown> {
  readonly body: Body<R>;
  readonly info: FunctionInfo;
  // The call is its own iterator result, so that a call costs one object.
  value: unknown = this;
  done = false;

  constructor(info: FunctionInfo, body: Body<R>) {
    this.info = info;
    this.body = body;
  }

  [Symbol.iterator](): this {
    return this;
  }

  #entered = false;

  /** First the call itself, for the runner; then, with what the function returned, the end. */
  next(sent: unknown): IteratorResult<Yielded, R> {
    if (this.#entered) {
      this.value = sent;
      this.done = true;
    }
    this.#entered = true;
    return this as unknown as IteratorResult<Yielded, R>;
  }
}

/** What a model function that can be interleaved returns. */
export type Steps<R> = Call<R>;

const register = (world: World, source: string, name: string): FunctionInfo => {
  const known = functions.get(name);
  if (known !== undefined) throw new Error(`steps: ${name} is registered twice`);
  const info = { name, world, source, sites: new Map<string, number>(), entry: 0 };
  info.entry = newSite(info, '');
  functions.set(name, info);
  return info;
};

/** What a model function can be given. */
type Arguments = [unknown?, unknown?, unknown?, unknown?, unknown?, unknown?, unknown?];

type ModelFunction<A extends Arguments, R> = (...args: A) => Body<R>;

const stepping = <A extends Arguments, R>(
  world: World,
  source: string,
  body: ModelFunction<A, R>,
): ((...args: A) => Steps<R>) => {
  const info = register(world, source, body.name);
  const called = body as (...args: Arguments) => Body<R>;
  // One by one: a rest parameter would be an array for each call. Those not given are undefined.
  return (a?, b?, c?, d?, e?, f?, g?) => new Call(info, called(a, b, c, d, e, f, g));
};

/** A function of arch/x86/kvm or virt/kvm; `source` is its path in the kernel tree. */
export const kvm = <A extends Arguments, R>(source: string, body: ModelFunction<A, R>) =>
  stepping('kvm', source, body);
/** A function of the kernel around KVM. */
export const linux = <A extends Arguments, R>(source: string, body: ModelFunction<A, R>) =>
  stepping('linux', source, body);
/** What the processor does; `source` names the section of the manual. */
export const sdm = <A extends Arguments, R>(source: string, body: ModelFunction<A, R>) =>
  stepping('sdm', source, body);
/** What an actor of a scenario does. */
export const scenarioActor = <A extends Arguments, R>(body: ModelFunction<A, R>) =>
  stepping('scenario', 'the scenario', body);

/** The scenario's machine is too small for what it does: the run ends with this sentence. */
export class MachineLimit extends Error {}

export type Condition = (m: Machine, argument: number) => boolean;

/** An actor while it runs: its coroutines, and where its stack is in the arena. */
export class Thread {
  readonly index: number;
  readonly name: string;
  readonly calls: Call<unknown>[] = [];
  waitsFor: Condition | undefined;
  waitsForArgument = 0;
  done = false;
  /** what the main function returned */
  result: unknown;

  constructor(index: number, name: string, main: Call<unknown>) {
    this.index = index;
    this.name = name;
    this.calls.push(main);
  }
}

/** What the host calls around a change of the primary page table; KVM registers its own at boot. */
export interface MmuNotifierOps {
  /** without `mayBlock` the OOM killer reaps a process whose vCPUs should all have stopped */
  invalidate_range_start(m: Machine, hva: number, mayBlock: boolean): Steps<void>;
  /** the secondary hook, called when the primary entry is gone */
  invalidate_range(m: Machine, hva: number): Steps<void>;
  invalidate_range_end(m: Machine, hva: number): Steps<void>;
}

/** The modelled computer with everything that model code needs to change it. */
export class Machine {
  readonly config: MachineConfig;
  readonly layout: RecordType;
  readonly arena: Arena;
  /** the whole state; its parts stand beside it for short */
  readonly view: MachineView;
  readonly vm: MachineView['vm'];
  readonly vcpu: MachineView['vcpu'];
  readonly cpu: MachineView['cpu'];
  readonly ept: MachineView['ept'];
  readonly pte: MachineView['pte'];
  readonly actor: MachineView['actor'];
  readonly frame: MachineView['frame'];
  readonly threads: Thread[] = [];
  readonly notifiers: MmuNotifierOps[] = [];
  /** handlers of interrupts that take steps, by `hostVector`; KVM registers its own at boot */
  readonly interruptHandlers = new Map<number, (m: Machine, cpu: number) => Steps<void>>();
  /** what user space does between two calls of KVM_RUN; boot registers its own */
  betweenRuns: ((m: Machine, vcpu: number) => Steps<void>) | undefined;
  /** the actor that takes the current step */
  current = 0;

  /** a barrier is off without which stores wait in store buffers */
  readonly storesWait: boolean;

  readonly #on: Readonly<Record<string, boolean>>;
  readonly #frameWords: number;
  /** first word of the stack of each actor */
  readonly #stacks: readonly number[];
  /** word of the top stack frame of the current actor */
  #top = 0;

  constructor(config: MachineConfig) {
    this.config = config;
    this.layout = layoutOf({
      vcpus: config.vcpus,
      actors: config.actors.length,
      frames: config.frames,
      memoryPages: config.memoryPages,
    });
    this.arena = new Arena(this.layout.bytes >>> 2);
    const view = viewOf<MachineView>(this.arena, this.layout);
    this.view = view;
    this.vm = view.vm;
    this.vcpu = view.vcpu;
    this.cpu = view.cpu;
    this.ept = view.ept;
    this.pte = view.pte;
    this.actor = view.actor;
    this.frame = view.frame;
    this.#on = Object.fromEntries(
      Object.entries(config.switches).map(([id, value]) => [id, value === 'on']),
    );
    this.storesWait = storesWaitWith(config.switches, config.vm?.nested ?? usualVm.nested);
    this.#stacks = view.actor.map(({ stack }) => baseOf(stack[0]!));
    this.#frameWords = baseOf(view.actor[0]!.stack[1]!) - this.#stacks[0]!;
  }

  /** Is the boolean switch on? */
  on(id: SwitchId): boolean {
    return this.#on[id]!;
  }

  /** The value of a switch that has more than two. */
  switch(id: SwitchId): string {
    return this.config.switches[id]!;
  }

  /** The current actor stores; others see that when its store buffer has drained. */
  storeLater(what: Buffered, vcpu: number, value: number): void {
    bufferStore(this, this.current, { what, vcpu, value });
  }

  /**
   * A locked instruction, a full barrier, an interrupt: everything that the actor has stored is in
   * memory. Costs nothing where no barrier is off.
   */
  drainStores(actor: number = this.current): void {
    if (!this.storesWait) return;
    while (this.actor[actor]!.stores > 0) this.drainOldest(actor);
  }

  /** The oldest store of an actor reaches memory. */
  drainOldest(actor: number): void {
    drainOldest(this, actor);
  }

  /** What the current actor reads of its own stores that wait, −1 if it has to look into memory. */
  forwarded(what: Buffered, vcpu: number): number {
    return this.storesWait ? forwarded(this, this.current, what, vcpu) : -1;
  }

  /**
   * Stands before the block that `label` names; the block up to the next `yield` is one step.
   * A `{name}` in the label shows the argument at its place: a local that lives across the step.
   */
  step(label: string, a?: number, b?: number, c?: number, d?: number): typeof STEP {
    const calls = this.threads[this.current]!.calls;
    const { info } = calls[calls.length - 1]!;
    const site = info.sites.get(label) ?? newSite(info, label);
    const { arena } = this;
    const top = this.#top;
    if (arena.words[top] !== site) arena.store(top, site);
    if (a !== undefined) arena.store(top + 1, a >>> 0);
    if (b !== undefined) arena.store(top + 2, b >>> 0);
    if (c !== undefined) arena.store(top + 3, c >>> 0);
    if (d !== undefined) arena.store(top + 4, d >>> 0);
    return STEP;
  }

  /**
   * As `step`, and the step can be taken only when `condition` holds; it reads nothing but the
   * machine.
   */
  park(label: string, condition: Condition, argument = 0): typeof PARK {
    this.step(label);
    const thread = this.threads[this.current]!;
    thread.waitsFor = condition;
    thread.waitsForArgument = argument;
    return PARK;
  }

  /** Adds an actor and runs it up to its first step, which is not a step of the run. */
  start(name: string, main: Call<unknown>): void {
    const thread = new Thread(this.threads.length, name, main);
    this.threads.push(thread);
    this.actor[thread.index]!.depth = 1;
    this.resume(thread.index);
  }

  /** Can the actor take a step? */
  ready(index: number): boolean {
    const thread = this.threads[index]!;
    if (thread.done) return false;
    return thread.waitsFor === undefined || thread.waitsFor(this, thread.waitsForArgument);
  }

  /** Site of the step that the actor stands before. */
  siteBefore(index: number): number {
    return this.arena.words[this.#topOf(index)]!;
  }

  /** Runs the actor to its next `yield`: the whole of one step, but for closing it. */
  resume(index: number): void {
    const thread = this.threads[index]!;
    const actor = this.actor[index]!;
    this.current = index;
    this.#top = this.#topOf(index);
    if (thread.waitsFor !== undefined) {
      thread.waitsFor = undefined;
      actor.state = actorState.READY;
      // To take a lock, to sleep and to take an interrupt drain the store buffer.
      this.drainStores(index);
    }
    const { calls } = thread;
    let sent: unknown;
    for (;;) {
      const result = calls[calls.length - 1]!.body.next(sent);
      sent = undefined;
      if (result.done === true) {
        calls.pop();
        actor.depth = calls.length;
        if (calls.length === 0) {
          thread.done = true;
          thread.result = result.value;
          actor.state = actorState.DONE;
          return;
        }
        this.#top -= this.#frameWords;
        sent = result.value;
      } else if (result.value === STEP) {
        return;
      } else if (result.value === PARK) {
        actor.state = actorState.PARKED;
        return;
      } else {
        if (calls.length === limits.stackDepth) {
          throw new Error(
            `model: the stack of ${thread.name} is deeper than ${limits.stackDepth} calls`,
          );
        }
        calls.push(result.value);
        this.#top += this.#frameWords;
        actor.depth = calls.length;
        this.arena.store(this.#top, result.value.info.entry);
      }
    }
  }

  #topOf(index: number): number {
    const depth = this.threads[index]!.calls.length;
    return this.#stacks[index]! + (depth > 1 ? depth - 1 : 0) * this.#frameWords;
  }
}

/** The first word of a record's accessor. */
export const baseOf = (view: { readonly index: number }): number =>
  (view as unknown as { readonly base: number }).base;

/**
 * Runs a call to its end in the place of an actor, step by step, while nobody else moves but the
 * interrupt contexts; gives what it returned. For code that asks one function one question.
 */
export const perform = <R>(m: Machine, actor: number, call: Call<R>): R => {
  const resting = m.threads[actor]!;
  const thread = new Thread(actor, resting.name, call);
  m.threads[actor] = thread;
  m.actor[actor]!.depth = 1;
  for (let steps = 0; !thread.done; steps++) {
    if (steps > limits.directiveSteps) throw new Error(`model: ${call.info.name} does not end`);
    const next = m.ready(actor)
      ? actor
      : m.threads.findIndex((t) => t.name.startsWith('irq') && m.ready(t.index));
    if (next < 0) throw new Error(`model: ${call.info.name} waits for what nobody does`);
    m.resume(next);
    m.arena.closeStep();
  }
  m.threads[actor] = resting;
  return thread.result as R;
};
