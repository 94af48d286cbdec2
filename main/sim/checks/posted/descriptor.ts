/** The posted-interrupt descriptor: where notifications go, and that each is sent. */

import { ndstOfCpu, POSTED_INTR_VECTOR, POSTED_INTR_WAKEUP_VECTOR } from '../../state/pi_desc.ts';
import { hostVector, vcpuMode } from '../../state/vcpu.ts';
import { pinControl } from '../../state/vmcs.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

export const inv_pid_nv: Check = {
  id: 'inv-pid-nv',
  when: 'step',
  per: 'vcpu',
  summary:
    'NV is the notification vector, or the wake-up vector exactly while the vCPU is on a wake-up ' +
    'list, unless its thread is changing the two; a list changes only under its lock',
  why: 'the notification of a sleeping vCPU would wake nobody, or its handler lose its way',
  races: ['R26', 'R28'],
  reads: [
    'vcpu[*].pi_desc.nv',
    'vcpu[*].on_wakeup_list',
    'vcpu[*].spec.in_pi_switch',
    'vm.spec.torn_wakeup_lists',
  ],
  broken(m, index) {
    const { pi_desc, on_wakeup_list, spec } = m.vcpu[index]!;
    const { nv } = pi_desc;
    const expected = on_wakeup_list >= 0 ? POSTED_INTR_WAKEUP_VECTOR : POSTED_INTR_VECTOR;
    const torn = m.vm.spec.torn_wakeup_lists;
    if (torn === 0 && (nv === expected || spec.in_pi_switch)) return undefined;
    const what =
      torn > 0
        ? 'a wake-up list was changed while its handler walked it'
        : `vCPU ${index} has NV ${hex(nv)}, on the wake-up list of CPU ${on_wakeup_list}`;
    return violated(what, `vcpu[${index}].pi_desc.nv`, `vcpu[${index}].on_wakeup_list`);
  },
};

export const inv_pid_ndst: Check = {
  id: 'inv-pid-ndst',
  when: 'entry',
  per: 'vcpu',
  summary: 'at VM entry NDST is the CPU of the vCPU, and SN is clear',
  why: 'notifications would go to another CPU, or not be sent at all',
  races: ['R25'],
  reads: ['vcpu[*].pi_desc.ndst', 'vcpu[*].pi_desc.sn', 'vcpu[*].cpu', 'vm.enable_apicv'],
  broken(m, index) {
    const { pi_desc, cpu } = m.vcpu[index]!;
    if (!m.vm.enable_apicv) return undefined;
    if (pi_desc.ndst === ndstOfCpu(cpu) && !pi_desc.sn) return undefined;
    return violated(
      `vCPU ${index} enters on CPU ${cpu} with NDST ${hex(pi_desc.ndst)} and SN ` +
        (pi_desc.sn ? 'set' : 'clear'),
      `vcpu[${index}].pi_desc.ndst`,
      `vcpu[${index}].pi_desc.sn`,
    );
  },
};

export const inv_pir_on: Check = {
  id: 'inv-pir-on',
  when: 'step',
  per: 'vcpu',
  summary:
    'while PIR is not empty ON is set, unless the vCPU is on no CPU with SN set, is being loaded, ' +
    'or a thread stands between PIR and ON or is harvesting',
  why: 'PIR is harvested only where ON is set: the vector waits until somebody posts another one',
  races: ['R21', 'R23', 'R25', 'R27'],
  reads: [
    'vcpu[*].pi_desc.pir',
    'vcpu[*].pi_desc.on',
    'vcpu[*].pi_desc.sn',
    'vcpu[*].scheduled_out',
    'vcpu[*].spec.in_pi_load',
    'vcpu[*].spec.posting',
    'vcpu[*].spec.harvesting',
  ],
  broken(m, index) {
    const { pi_desc, scheduled_out, spec } = m.vcpu[index]!;
    if (pi_desc.on || spec.posting > 0 || spec.harvesting > 0) return undefined;
    const highest = pi_desc.pir.highest();
    if (highest < 0 || spec.in_pi_load || (pi_desc.sn && scheduled_out)) return undefined;
    return violated(
      `vector ${hex(highest)} is in PIR of vCPU ${index}, but ON is clear and nobody will set it`,
      `vcpu[${index}].pi_desc.pir`,
      `vcpu[${index}].pi_desc.on`,
    );
  },
};

export const inv_on_notified: Check = {
  id: 'inv-on-notified',
  when: 'step',
  per: 'vcpu',
  summary:
    'while the guest runs with posted interrupts and ON is set, the notification is pending on its ' +
    'CPU, a sender is about to send it, the vCPU was told to exit (mode EXITING), or its APIC is ' +
    'software-disabled',
  why: 'later senders see ON and send nothing: no interrupt comes in until the next exit',
  races: ['R20', 'R22'],
  reads: [
    'vcpu[*].pi_desc.on',
    'vcpu[*].apic.sw_enabled',
    'vcpu[*].non_root',
    'vcpu[*].mode',
    'vcpu[*].guest_mode',
    'vcpu[*].cpu',
    'vcpu[*].spec.notifying',
    'vcpu[*].vmcs01.pin_based_vm_exec_control',
    'cpu[*].pending',
  ],
  broken(m, index) {
    const { apic, pi_desc, non_root, guest_mode, mode, cpu, spec, vmcs01 } = m.vcpu[index]!;
    if (!non_root || !pi_desc.on || guest_mode || spec.notifying > 0) return undefined;
    // An entry leaves ON as it is then; the write that enables the APIC exits.
    if (mode === vcpuMode.EXITING_GUEST_MODE || !apic.sw_enabled) return undefined;
    if (m.cpu[cpu]!.pending.has(hostVector.POSTED_INTR)) return undefined;
    if (!vmcs01.pin_based_vm_exec_control.has(pinControl.POSTED_INTR)) return undefined;
    return violated(
      `vCPU ${index} runs the guest with ON set, and no notification is pending on CPU ${cpu}`,
      `vcpu[${index}].pi_desc.on`,
      `cpu[${cpu}].pending`,
    );
  },
};
