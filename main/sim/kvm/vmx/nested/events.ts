/** Events while L2 runs: which of them end it, and what is posted for it. */
import { apicEvent } from '../../../state/lapic.ts';
import { mpState } from '../../../state/vcpu.ts';
import { exitReason } from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { EBUSY } from '../../errno.ts';
import { __nested_vmx_vmexit, exitTo } from './vmexit.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

function* takeInit(m: Machine, vcpu: number): Body<number> {
  const { apic, mp_state } = m.vcpu[vcpu]!;
  yield m.step('clear INIT');
  apic.pending_events.clear(apicEvent.INIT);
  if (mp_state !== mpState.INIT_RECEIVED) {
    yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.INIT_SIGNAL));
  }
  return 0;
}

/**
 * Events that end L2, the first of them in the order of their priority.
 * @omits exceptions, MTF, the preemption timer, SMI, NMI and interrupts: L1 lets L2 have them
 */
export const vmx_check_nested_events = kvm(
  file,
  function* vmx_check_nested_events(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    const { apic, interrupt, nested } = target;
    const blocked = nested.nested_run_pending || target.nmi_injected || interrupt.injected;
    yield m.step('is INIT or SIPI pending?');
    if (apic.pending_events.has(apicEvent.INIT)) {
      return blocked ? -EBUSY : yield* takeInit(m, vcpu);
    }
    if (!apic.pending_events.has(apicEvent.SIPI)) return 0;
    if (blocked) return -EBUSY;
    yield m.step('clear SIPI');
    apic.pending_events.clear(apicEvent.SIPI);
    if (target.mp_state === mpState.INIT_RECEIVED) {
      const qualification = apic.sipi_vector & 0xff;
      yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.SIPI_SIGNAL, { qualification }));
    }
    return 0;
  },
);
