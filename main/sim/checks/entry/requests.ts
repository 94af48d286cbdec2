/** A request is never overlooked. */
import type { ViewOf } from '../../arena/fields.ts';
import type { MachineView, VcpuView } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { vcpuMode } from '../../state/vcpu.ts';
import { INTR_INFO_VALID, pinControl, type Vmcs } from '../../state/vmcs.ts';
import type { Check } from '../check.ts';
import { loadedVmcsOf, violated } from '../violation.ts';

const nameOf = (request: number): string =>
  Object.entries(KVM_REQ).find(([, number]) => number === request)?.[0] ?? String(request);

/** With a count of 0 the VMX preemption timer makes the guest exit before its first instruction. */
const exitsAtOnce = (vmcs: ViewOf<typeof Vmcs>): boolean =>
  vmcs.pin_based_vm_exec_control.has(pinControl.PREEMPTION_TIMER) &&
  vmcs.vmx_preemption_timer_value === 0;

/** Will somebody still interrupt a vCPU that enters the guest with a request pending? */
export const isInterrupted = (m: MachineView, vcpu: VcpuView): boolean => {
  if (vcpu.mode === vcpuMode.EXITING_GUEST_MODE || vcpu.spec.makers_in_flight > 0) return true;
  if (m.cpu[vcpu.cpu]!.pending.any()) return true;
  // The CPU has acknowledged the interrupt already: the exit is under way.
  const vmcs = loadedVmcsOf(vcpu);
  if (vmcs.vm_exit_intr_info >= INTR_INFO_VALID || exitsAtOnce(vmcs)) return true;
  return vcpu.spec.kick.some(({ undecided }) => undecided);
};

/** What `isInterrupted` reads. */
export const interruptionReads: readonly string[] = [
  'vcpu[*].mode',
  'vcpu[*].cpu',
  'vcpu[*].spec.makers_in_flight',
  'vcpu[*].spec.kick[*].undecided',
  'cpu[*].pending',
  'vcpu[*].loaded_vmcs',
  'vcpu[*].vmcs0*.vm_exit_intr_info',
  'vcpu[*].vmcs0*.pin_based_vm_exec_control',
  'vcpu[*].vmcs0*.vmx_preemption_timer_value',
];

export const inv_entry_no_requests: Check = {
  id: 'inv-entry-no-requests',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when the guest starts, each pending request was made after the final check, by a maker that ' +
    'will still interrupt the vCPU',
  why:
    'a request that nobody kicks for waits until an unrelated exit, with the guest running on what ' +
    'the request was to change',
  races: ['R10', 'R11'],
  reads: ['vcpu[*].requests', ...interruptionReads],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!vcpu.requests.any() || isInterrupted(m, vcpu)) return undefined;
    const names: string[] = [];
    for (let i = 0; i < vcpu.requests.width; i++) if (vcpu.requests.has(i)) names.push(nameOf(i));
    return violated(
      `vCPU ${index} enters the guest with ${names.join(', ')} pending and nobody on the way to kick it`,
      `vcpu[${index}].requests`,
      `vcpu[${index}].mode`,
    );
  },
};

export const inv_req_not_lost: Check = {
  id: 'inv-req-not-lost',
  when: 'quiet',
  per: 'vcpu',
  summary: 'each request that was made is pending still, or its handler started after it was made',
  why: 'a request that is cleared after its handler ran loses what was asked meanwhile',
  races: ['R15'],
  reads: ['vcpu[*].requests', 'vcpu[*].spec.request[*].**'],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    for (const { index: request, published, taken } of vcpu.spec.request) {
      if (published === taken || vcpu.requests.has(request)) continue;
      return violated(
        `${nameOf(request)} was made ${published} times for vCPU ${index}, but its handler started ` +
          `only after the first ${taken}, and the bit is clear`,
        `vcpu[${index}].spec.request[${request}].published`,
        `vcpu[${index}].requests`,
      );
    }
    return undefined;
  },
};

export const inv_wait_ack: Check = {
  id: 'inv-wait-ack',
  when: 'step',
  per: 'machine',
  summary:
    'when a maker of a WAIT request goes on, each target that it interrupted has left the guest',
  why: 'the maker frees what it took away: a vCPU that is still inside would use it',
  races: ['R16', 'R17'],
  reads: ['vm.spec.unacked_waits'],
  broken(m) {
    return m.vm.spec.unacked_waits === 0
      ? undefined
      : violated(
          'a maker went on although its target never left the guest',
          'vm.spec.unacked_waits',
        );
  },
};
