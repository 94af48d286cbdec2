/** No interrupt waits for ever while its vCPU could take it. */
import type { VcpuView } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { taskState } from '../../state/vcpu.ts';
import { interruptibility, interruptShadow, pinControl } from '../../state/vmcs.ts';
import type { Check } from '../check.ts';
import { dueForL2, dueForL2Reads } from '../nested/posted.ts';
import {
  hex,
  isOpenFor,
  isOpenForReads,
  isPresent,
  loadedVmcsOf,
  passesPriority,
  violated,
} from '../violation.ts';

export const inv_pi_not_lost: Check = {
  id: 'inv-pi-not-lost',
  when: 'quiet',
  per: 'vcpu',
  summary:
    'once nobody can move, no vector is left in PIR that a vCPU at rest in its guest, or asleep, ' +
    'could take',
  why: 'the interrupt has been posted, and nobody will ever look',
  races: ['R20', 'R21', 'R22', 'R23', 'R24', 'R25', 'R26', 'R27', 'R52'],
  reads: [
    'vcpu[*].pi_desc.pir',
    'vcpu[*].non_root',
    'vcpu[*].task_state',
    'vcpu[*].guest_mode',
    'vcpu[*].apic_base',
    ...isOpenForReads,
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    const highest = vcpu.pi_desc.pir.highest();
    if (highest < 0 || vcpu.guest_mode || !isPresent(vcpu)) return undefined;
    const atRest = vcpu.non_root || vcpu.task_state === taskState.BLOCKED;
    if (!atRest || !isOpenFor(vcpu, highest)) return undefined;
    return violated(
      `vector ${hex(highest)} stays in PIR of vCPU ${index}, which could take it`,
      `vcpu[${index}].pi_desc.pir`,
      `vcpu[${index}].pi_desc.on`,
    );
  },
};

/** Does L1 want an exit for such an event, so that L2 cannot hold it back? */
const endsL2 = ({ guest_mode, nested }: VcpuView, control: number): boolean =>
  guest_mode && nested.cached_vmcs12.pin_based_vm_exec_control.has(control);

/** INIT is blocked in SMM, and in VMX operation unless L2 is active. */
const takesInit = ({ in_smm, guest_mode, nested }: VcpuView): boolean =>
  !in_smm && (guest_mode || !nested.vmxon);

/** An event that ends the sleep of a vCPU, or its L2, whatever its APIC says. */
const eventOf = (vcpu: VcpuView) => {
  const { apic, requests, nmi_pending, smi_pending, in_smm } = vcpu;
  const nmisHeld = interruptShadow | interruptibility.NMI;
  const nmiOpen =
    endsL2(vcpu, pinControl.NMI) || (loadedVmcsOf(vcpu).guest_interruptibility & nmisHeld) === 0;
  if (apic.pending_events.any() && takesInit(vcpu)) return 'INIT or SIPI';
  if (requests.has(KVM_REQ.NMI) || (nmi_pending > 0 && nmiOpen)) return 'an NMI';
  if (requests.has(KVM_REQ.SMI) || (smi_pending && !in_smm)) return 'an SMI';
  return undefined;
};

/** Does priority let the vector through, to a vCPU whose guest takes it or ends for it? */
const takes = (vcpu: VcpuView, vector: number): boolean =>
  vector >= 0 &&
  isPresent(vcpu) &&
  (endsL2(vcpu, pinControl.EXT_INTR) ? passesPriority(vcpu, vector) : isOpenFor(vcpu, vector));

export const inv_blocked_has_no_irq: Check = {
  id: 'inv-blocked-has-no-irq',
  when: 'quiet',
  per: 'vcpu',
  summary:
    'once nobody can move, and so no wake-up is in flight, a vCPU that sleeps, in KVM or halted in ' +
    'its guest, has nothing pending that it could take, or that could end its L2: no vector in IRR ' +
    'or PIR; asleep in KVM or with L2 active, no INIT, SIPI, NMI, SMI either; asleep in L2, no ' +
    'vector in the descriptor of L2',
  why: 'the guest hangs in HLT, or L2 runs on, although the interrupt is there',
  races: ['R26', 'R29', 'R37', 'R42'],
  reads: [
    'vcpu[*].task_state',
    'vcpu[*].non_root',
    'vcpu[*].guest_mode',
    'vcpu[*].apic_base',
    'vcpu[*].apic.irr',
    'vcpu[*].apic.pending_events',
    'vcpu[*].pi_desc.pir',
    'vcpu[*].requests',
    'vcpu[*].nmi_pending',
    'vcpu[*].smi_pending',
    'vcpu[*].in_smm',
    'vcpu[*].nested.vmxon',
    'vcpu[*].nested.cached_vmcs12.pin_based_vm_exec_control',
    ...isOpenForReads,
    ...dueForL2Reads,
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    const { apic, pi_desc, task_state, non_root, guest_mode } = vcpu;
    const asleep = task_state === taskState.BLOCKED;
    if (!asleep && !non_root) return undefined;
    const highest = Math.max(apic.irr.highest(), pi_desc.pir.highest());
    const found = asleep || guest_mode ? eventOf(vcpu) : undefined;
    const ofL1 = takes(vcpu, highest) ? `vector ${hex(highest)}` : undefined;
    const due = asleep ? dueForL2(m, index) : -1;
    const event = found ?? ofL1 ?? (due < 0 ? undefined : `vector ${hex(due)} of its L2`);
    if (event === undefined) return undefined;
    return violated(
      `vCPU ${index} sleeps with ${event} pending`,
      `vcpu[${index}].task_state`,
      `vcpu[${index}].apic.irr`,
      `vcpu[${index}].pi_desc.pir`,
    );
  },
};
