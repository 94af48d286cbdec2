// What becomes of every interrupt that an APIC accepted, told by the writes of a run: it is kept
// for the property that none is lost and none delivered twice.

import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { leavesMatching, wordsOf } from '#sim/arena/leaves.ts';
import type { Policy } from '#sim/sched/policy.ts';
import type { Watcher } from '#sim/sched/run.ts';
import { taskState } from '#sim/state/vcpu.ts';
import { type Machine, siteOf } from '#sim/steps.ts';

/** Steps that request a vector; the vector is their first local. */
const accepts: Readonly<Record<string, string>> = {
  apic_set_irr: 'set vector {vector} in IRR',
  __vmx_deliver_posted_interrupt: 'set vector {vector} in PIR',
  postInterrupt: 'set vector {vector} in PIR',
  selfIpiVirtualization: 'set VIRR[{vector}]',
  ipiVirtualization: 'set PIR[{vector}]',
};
/** Steps that put what was taken from PIR into IRR. */
const lands: Readonly<Record<string, string>> = {
  __kvm_apic_update_irr: 'put {posted} into word',
  postedInterruptProcessing: 'take word {word} of PIR',
};

const isAt = (table: Readonly<Record<string, string>>, site: number): boolean => {
  const at = siteOf(site);
  const label = at === undefined ? undefined : table[at.function];
  return label !== undefined && at!.label.startsWith(label);
};

/** The life of one vector of one vCPU. */
interface Account {
  accepted: number;
  /** requests of a vector that was requested already: in PIR, in IRR, or there at a harvest */
  merged: number;
  /** 1 between PIR and IRR: a harvester holds it */
  onTheWay: number;
  /** times that it left IRR for ISR */
  taken: number;
  delivered: number;
}

const bitsOf = (word: number): number[] =>
  Array.from({ length: 32 }, (_, i) => i).filter((i) => ((word >>> i) & 1) === 1);

export class Ledger implements Watcher {
  /** what broke the rules while the machine ran */
  readonly faults: string[] = [];
  readonly #accounts = new Map<number, Account>();
  /** word of the arena to vCPU × 8 + word of the set */
  readonly #pir = new Map<number, number>();
  readonly #irr = new Map<number, number>();
  readonly #delivered: number[];
  readonly #endsInterrupts: boolean;
  #site = 0;
  #vector = 0;

  /** `endsInterrupts`: the handlers of the guests execute EOI */
  constructor(m: Machine, endsInterrupts: boolean) {
    this.#endsInterrupts = endsInterrupts;
    for (const vcpu of m.vcpu) {
      const path = `vcpu[${vcpu.index}]`;
      for (const [set, of] of [
        [this.#pir, `${path}.pi_desc.pir`],
        [this.#irr, `${path}.apic.irr`],
      ] as const) {
        const leaf = leavesMatching(m.layout, of)[0]!;
        for (let w = 0; w < wordsOf(leaf); w++)
          set.set(leaf.word + w * leaf.step, vcpu.index * 8 + w);
      }
    }
    this.#delivered = m.vcpu.map(({ guest }) => guest.delivered_count);
  }

  /** The policy, noting which step it chose, and its first local. */
  noting(policy: Policy): Policy {
    return {
      ended: undefined,
      choose: (m, ready) => {
        const actor = policy.choose(m, ready);
        if (actor < 0) return actor;
        this.#site = m.siteBefore(actor);
        const { stack, depth } = m.actor[actor]!;
        this.#vector = stack[depth - 1]!.local[0]!.value;
        return actor;
      },
    };
  }

  stepClosed(m: Machine): void {
    const { arena } = m;
    for (let i = arena.startOf(arena.stepsKept - 1); i < arena.used; i += LOG_STRIDE) {
      const [word, old, now] = [arena.writes[i]!, arena.writes[i + 1]!, arena.writes[i + 2]!];
      const pir = this.#pir.get(word);
      if (pir !== undefined) this.#pirWritten(pir, old, now);
      const irr = this.#irr.get(word);
      if (irr !== undefined) this.#irrWritten(irr, old, now);
    }
    for (const { index, guest } of m.vcpu) {
      while (this.#delivered[index]! < guest.delivered_count) {
        const place = this.#delivered[index]!++ % guest.delivered.length;
        this.account(index, guest.delivered[place]!.vector).delivered++;
      }
    }
    for (const { index, cpu, non_root } of m.vcpu) {
      const other = m.vcpu.find((one) => one.index > index && one.cpu === cpu && one.non_root);
      if (non_root && other !== undefined) {
        this.faults.push(`vCPUs ${index} and ${other.index} run on CPU ${cpu} at the same time`);
      }
    }
    arena.dropLog();
  }

  account(vcpu: number, vector: number): Account {
    const key = vcpu * 256 + vector;
    const known = this.#accounts.get(key);
    if (known !== undefined) return known;
    const made = { accepted: 0, merged: 0, onTheWay: 0, taken: 0, delivered: 0 };
    this.#accounts.set(key, made);
    return made;
  }

  /** Interrupts accepted, and how many of them merged with one that was pending. */
  totals(): { accepted: number; merged: number; delivered: number } {
    const sum = { accepted: 0, merged: 0, delivered: 0 };
    for (const one of this.#accounts.values()) {
      sum.accepted += one.accepted;
      sum.merged += one.merged;
      sum.delivered += one.delivered;
    }
    return sum;
  }

  #accepted(place: number, old: number): void {
    const account = this.account(place >>> 3, this.#vector);
    account.accepted++;
    if (((old >>> (this.#vector & 31)) & 1) === 1) account.merged++;
  }

  #pirWritten(place: number, old: number, now: number): void {
    if (isAt(accepts, this.#site)) this.#accepted(place, old);
    else if ((now & ~old) !== 0) this.faults.push(`PIR gains bits in ${this.#where()}`);
    for (const bit of bitsOf(old & ~now)) {
      this.account(place >>> 3, (place & 7) * 32 + bit).onTheWay++;
    }
  }

  #irrWritten(place: number, old: number, now: number): void {
    if (isAt(accepts, this.#site)) this.#accepted(place, old);
    else if (isAt(lands, this.#site)) this.#landed(place, old, now);
    else if ((now & ~old) !== 0) this.faults.push(`IRR gains bits in ${this.#where()}`);
    for (const bit of bitsOf(old & ~now)) {
      this.account(place >>> 3, (place & 7) * 32 + bit).taken++;
    }
  }

  #landed(place: number, old: number, now: number): void {
    for (let bit = 0; bit < 32; bit++) {
      const vector = (place & 7) * 32 + bit;
      const account = this.account(place >>> 3, vector);
      if (account.onTheWay > 0 && ((old >>> bit) & 1) === 1) account.merged += account.onTheWay;
      else if (account.onTheWay !== (((now & ~old) >>> bit) & 1)) {
        this.faults.push(`vector ${vector} was taken from PIR and is not what IRR gains`);
      }
      account.onTheWay = 0;
    }
  }

  #where(): string {
    const site = siteOf(this.#site);
    return `${site?.function} "${site?.label}"`;
  }

  /** What does not add up now that nobody can move; and what lies there although it could go on. */
  atRest(m: Machine): string[] {
    const wrong = [...this.faults];
    for (const [key, one] of this.#accounts) {
      const [vcpu, vector] = [key >>> 8, key & 0xff];
      const { apic, pi_desc } = m.vcpu[vcpu]!;
      const pending = Number(apic.irr.has(vector)) + Number(pi_desc.pir.has(vector));
      const injected = Number(injectedOn(m, vcpu) === vector);
      if (one.accepted - one.merged !== one.taken + one.onTheWay + pending) {
        wrong.push(`vCPU ${vcpu}: vector ${vector} was requested and is gone`);
      }
      if (one.taken !== one.delivered + injected) {
        wrong.push(`vCPU ${vcpu}: ${vector} taken ${one.taken}, delivered ${one.delivered} times`);
      }
      if (one.onTheWay !== 0) wrong.push(`vCPU ${vcpu}: vector ${vector} left PIR only`);
    }
    for (const { index, exit_reason } of m.vcpu) {
      if (m.threads[index]!.done) wrong.push(`vCPU ${index}: KVM_RUN fails, exit ${exit_reason}`);
    }
    for (const { index, apic, guest } of m.vcpu) {
      if (!this.#endsInterrupts || guest.in_service_program !== 0 || waitsForCpu(m, index))
        continue;
      if (apic.isr.any()) wrong.push(`vCPU ${index}: an EOI was lost`);
    }
    return [...wrong, ...m.vcpu.flatMap(({ index }) => stuckOn(m, index))];
  }
}

/** The vector that the next entry injects, −1 for none; KVM forgets one after the exit only. */
const injectedOn = (m: Machine, index: number): number => {
  const { interrupt, non_root } = m.vcpu[index]!;
  return interrupt.injected && !non_root ? interrupt.nr : -1;
};

/** The thread could go on, but another does not give the CPU away. */
const waitsForCpu = (m: Machine, index: number): boolean => {
  const { scheduled_out, task_state } = m.vcpu[index]!;
  return scheduled_out && task_state !== taskState.BLOCKED;
};

/** A vCPU that rests although an interrupt is there that its guest would take. */
const stuckOn = (m: Machine, index: number): string[] => {
  const vcpu = m.vcpu[index]!;
  const { apic, guest, pi_desc } = vcpu;
  if (waitsForCpu(m, index)) return [];
  if (!guest.rflags_if) return [];
  const inService = Math.max(0, apic.isr.highest());
  const threshold = Math.max(apic.tpr >>> 4, inService >>> 4);
  const highest = Math.max(apic.irr.highest(), pi_desc.pir.highest());
  const waits = highest >= 0 && highest >>> 4 > threshold;
  if (!waits && injectedOn(m, index) < 0) return [];
  return [`vCPU ${index} rests, and nobody tells it of vector ${highest}`];
};
