/** What an invariant is. Each is a small file of its own; `index.ts` lists them. */
import type { MachineView } from '../state/machine.ts';

/**
 * step: after every step · entry: at the instant a VM entry succeeds · exit: at the instant the CPU
 * leaves the guest · quiet: when nobody can move
 */
export type When = 'step' | 'entry' | 'exit' | 'quiet';

export interface Violation {
  /** one sentence with the values that contradict each other */
  readonly message: string;
  /** paths of the fields that it speaks of */
  readonly fields: readonly string[];
}

export interface Check {
  /** as in the catalogue: `inv-…` */
  readonly id: string;
  readonly when: When;
  /** the predicate in words */
  readonly summary: string;
  /** why it matters to somebody who debugs KVM */
  readonly why: string;
  /** races that break it when their protection is off */
  readonly races: readonly string[];
  /**
   * evaluated once for each vCPU, or once for the machine; one for each vCPU reads no other vCPU:
   * it is evaluated for those that were written
   */
  readonly per: 'vcpu' | 'machine';
  /** globs of all fields that `broken` may read: it is evaluated again only when one was written */
  readonly reads: readonly string[];
  /** undefined while it holds; `vcpu` is −1 if `per` is machine */
  broken(m: MachineView, vcpu: number): Violation | undefined;
}

export interface Finding extends Violation {
  readonly check: string;
  /** the state at this position breaks the check; the step before it broke it */
  readonly position: number;
  readonly step: number;
  readonly actor: number;
  readonly vcpu: number;
}
