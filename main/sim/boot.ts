/** The boot image: the machine as a scenario finds it, and its actors at their first step. */

import { betweenRuns } from './acts/user_space.ts';
import { acts } from './acts.ts';
import { alloc_page } from './host/frames.ts';
import { hrtimer_interrupt } from './host/hrtimer.ts';
import { hostInterrupts } from './host/irq.ts';
import { process_one_work } from './host/workqueue.ts';
import { mapSpte } from './hw/ept.ts';
import { drainStoreBuffer } from './hw/store_buffer.ts';
import { tlbFill } from './hw/tlb.ts';
import { skipLoops } from './hw/vm_entry.ts';
import { eoiInjectDue, kvm_ioapic_eoi_inject_work } from './kvm/ioapic.ts';
import { settleApicMap } from './kvm/lapic/apic_map.ts';
import { apic_timer_fn } from './kvm/lapic/timer_expiry.ts';
import { kvm_apicv_activated } from './kvm/mmu/mmu.ts';
import { INVALID_GFN } from './kvm/mmu_invalidate.ts';
import { kvm_mmu_notifier_ops } from './kvm/mmu_notifier.ts';
import { tdx_vcpu_create } from './kvm/tdx.ts';
import { vmx_update_msr_bitmap_x2apic } from './kvm/vmx/msr_bitmap.ts';
import { vmx_preemption_timer_fn } from './kvm/vmx/nested/preemption_timer.ts';
import { pi_wakeup_handler } from './kvm/vmx/pi_blocking.ts';
import { setPidPointer, vmx_alloc_ipiv_pid_table, writePidTable } from './kvm/vmx/pid_table.ts';
import { vcpu_run } from './kvm/x86.ts';
import {
  APIC_ACCESS_PAGE_PRIVATE_MEMSLOT,
  APIC_DEFAULT_PHYS_BASE,
  apicAccessGfn,
  eptpOf,
  hpaOfPiDesc,
  hvaOfApicAccessPage,
  hvaOfGuestPage,
  INVALID_GPA,
} from './state/addresses.ts';
import { apicMapDirty } from './state/apic_map.ts';
import { APIC_SPIV_APIC_ENABLED } from './state/apicdef.ts';
import { redirection } from './state/ioapic.ts';
import { firstFrame, pfn_to_hpa } from './state/machine.ts';
import {
  type ActorConfig,
  type MachineConfig,
  usualVm,
  type VcpuConfig,
  type VmConfig,
} from './state/machine_config.ts';
import { cacheNames } from './state/nested.ts';
import { POSTED_INTR_VECTOR } from './state/pi_desc.ts';
import type { Instruction, Program } from './state/program.ts';
import { KVM_REQ } from './state/requests.ts';
import { LAPIC_TIMER_ADVANCE_NS_INIT } from './state/timer.ts';
import { hostVector, mpState } from './state/vcpu.ts';
import { apicvInhibitReason, irqchipMode, quirk } from './state/vm.ts';
import {
  cpuControl,
  exitControl,
  exitReason,
  otherMsr,
  pinControl,
  secondaryControl,
} from './state/vmcs.ts';
import { Machine, type Steps, scenarioActor } from './steps.ts';

const LVT_MASKED = 0x1_0000;
const EXTINT = 0x700;
const APIC_BASE_ENABLE = 1 << 11;
const APIC_BASE_X2APIC = 1 << 10;
const APIC_BASE_BSP = 1 << 8;
const DIRECTED_EOI = 1 << 24;
/** One-shot is bit 17 clear; bit 18 can be set only where CPUID shows the deadline mode. */
const timerModeMask = (deadline: boolean): number => (1 << 17) | (deadline ? 1 << 18 : 0);

const usualVcpu: Omit<VcpuConfig, 'id'> = { mode: 'xapic', lvtCmci: true, interrupts: false };

const vmConfigOf = (config: MachineConfig): VmConfig => ({ ...usualVm, ...config.vm });
const vcpuConfigOf = (config: MachineConfig, index: number): VcpuConfig => ({
  id: index,
  ...usualVcpu,
  ...config.apics?.[index],
});

/** @kvm arch/x86/kvm/lapic.c: kvm_apic_set_version */
const setVersion = (m: Machine, index: number): void => {
  const { apic } = m.vcpu[index]!;
  apic.lvr = 0x14 | ((apic.nr_lvt_entries - 1) << 16);
  if (m.vm.x2apic_cpuid && m.vm.irqchip_mode === irqchipMode.SPLIT) apic.lvr |= DIRECTED_EOI;
};

/** ID and LDR of the mode, and the bits of apic_base. @kvm arch/x86/kvm/lapic.c */
const setMode = (m: Machine, index: number, mode: VcpuConfig['mode']): void => {
  const vcpu = m.vcpu[index]!;
  const { apic, vcpu_id: id } = vcpu;
  const bits = {
    disabled: 0,
    xapic: APIC_BASE_ENABLE,
    x2apic: APIC_BASE_ENABLE | APIC_BASE_X2APIC,
  };
  const bsp = id === m.vm.bsp_vcpu_id ? APIC_BASE_BSP : 0;
  vcpu.apic_base = APIC_DEFAULT_PHYS_BASE + bits[mode] + bsp;
  apic.id = mode === 'x2apic' ? id : id << 24;
  if (mode === 'x2apic') apic.ldr = ((id >>> 4) << 16) | (1 << (id & 15));
};

/** Reset values of the register page. @kvm arch/x86/kvm/lapic.c: kvm_lapic_reset */
const resetLapic = (m: Machine, index: number): void => {
  const { apic, lvt_cmci, vcpu_id } = m.vcpu[index]!;
  apic.nr_lvt_entries = lvt_cmci ? 7 : 6;
  setVersion(m, index);
  apic.dfr = 0xffff_ffff;
  apic.spiv = 0xff;
  for (const lvt of ['lvtt', 'lvtthmr', 'lvtpc', 'lvt0', 'lvt1', 'lvterr'] as const) {
    apic[lvt] = LVT_MASKED;
  }
  if (lvt_cmci) apic.lvtcmci = LVT_MASKED;
  // A BIOS that knows nothing of the APIC expects the PIC to reach the boot processor.
  if (vcpu_id === m.vm.bsp_vcpu_id && !m.vm.disabled_quirks.has(quirk.LINT0_REENABLED)) {
    apic.lvt0 = EXTINT;
  }
  apic.base_address = APIC_DEFAULT_PHYS_BASE;
  apic.divide_count = 2;
  apic.lapic_timer.timer_advance_ns = LAPIC_TIMER_ADVANCE_NS_INIT;
  apic.lapic_timer.timer_mode_mask = timerModeMask(m.vm.tsc_deadline_cpuid);
  apic.apicv_active = apicvUsable(m, index);
  apic.irr_pending = apic.apicv_active;
  apic.isr_count = apic.apicv_active ? 1 : 0;
  apic.highest_isr_cache = -1;
};

/** As the firmware leaves an APIC that it has used. */
const enableInterrupts = (m: Machine, index: number): void => {
  const { apic, guest } = m.vcpu[index]!;
  apic.spiv |= APIC_SPIV_APIC_ENABLED;
  apic.sw_enabled = true;
  guest.rflags_if = true;
};

const apicvUsable = (m: Machine, index: number): boolean =>
  kvm_apicv_activated(m) && (m.vcpu[index]!.apic_base & APIC_BASE_ENABLE) !== 0;

/** Have two APICs the same ID? KVM has found that when it made the destination map. */
const idsAlias = (config: MachineConfig): boolean => {
  if (vmConfigOf(config).x2apic32bitIds) return false;
  const ids = Array.from({ length: config.vcpus }, (_, index) => vcpuConfigOf(config, index))
    .filter(({ mode }) => mode !== 'disabled')
    .map(({ mode, id }) => (mode === 'x2apic' ? id : id & 0xff));
  return new Set(ids).size < ids.length;
};

/** @kvm arch/x86/kvm/vmx/vmx.c: init_vmcs */
const resetVmcs = (m: Machine, index: number): void => {
  const { vmcs01, apic, apic_base, msr_bitmap } = m.vcpu[index]!;
  vmcs01.virtual_processor_id = index + 1;
  vmcs01.posted_intr_nv = POSTED_INTR_VECTOR;
  vmcs01.posted_intr_desc_addr = hpaOfPiDesc(index);
  vmcs01.virtual_apic_page_addr = pfn_to_hpa(firstFrame + index);
  const pin: number[] = [pinControl.EXT_INTR, pinControl.NMI, pinControl.VIRTUAL_NMIS];
  const secondary: number[] = [secondaryControl.EPT, secondaryControl.VPID];
  if ((apic_base & APIC_BASE_X2APIC) !== 0) {
    secondary.push(secondaryControl.VIRTUALIZE_X2APIC_MODE);
  } else if ((apic_base & APIC_BASE_ENABLE) !== 0) {
    secondary.push(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  }
  if (apic.apicv_active) {
    pin.push(pinControl.POSTED_INTR);
    secondary.push(secondaryControl.APIC_REGISTER_VIRT, secondaryControl.VIRTUAL_INTR_DELIVERY);
  }
  if (m.vm.enable_preemption_timer) pin.push(pinControl.PREEMPTION_TIMER);
  for (const bit of pin) vmcs01.pin_based_vm_exec_control.set(bit);
  for (const bit of secondary) vmcs01.secondary_vm_exec_control.set(bit);
  vmcs01.vm_exit_controls.set(exitControl.ACK_INTR_ON_EXIT);
  const cpu: number[] = [cpuControl.TPR_SHADOW, cpuControl.MSR_BITMAPS, cpuControl.SECONDARY];
  if (!m.vm.hlt_in_guest) cpu.push(cpuControl.HLT);
  if (m.vm.enable_ipiv && apic.apicv_active) cpu.push(cpuControl.TERTIARY);
  for (const bit of cpu) vmcs01.cpu_based_vm_exec_control.set(bit);
  vmx_update_msr_bitmap_x2apic(m, index);
  for (const bit of [otherMsr.SPEC_CTRL, otherMsr.PRED_CMD, otherMsr.FLUSH_CMD]) {
    msr_bitmap.other_read.set(bit);
    msr_bitmap.other_write.set(bit);
  }
};

const addSlot = (
  m: Machine,
  id: number,
  baseGfn: number,
  { pages, hva }: { pages: number; hva: number },
): void => {
  const slot = m.vm.memslot.find((s) => !s.used)!;
  slot.id = id;
  slot.base_gfn = baseGfn;
  slot.npages = pages;
  slot.userspace_addr = hva;
  slot.used = true;
};

/** A page of user space, not yet backed by a frame. */
const addPte = (m: Machine, hva: number): number => {
  const pte = m.pte.find((p) => !p.used)!;
  pte.hva = hva;
  pte.pfn = -1;
  pte.writable = true;
  pte.used = true;
  return pte.index;
};

/** What user space and the module parameters chose. */
const chooseVm = (m: Machine): void => {
  const { vm } = m;
  const chosen = vmConfigOf(m.config);
  vm.irqchip_mode = chosen.irqchip === 'split' ? irqchipMode.SPLIT : irqchipMode.KERNEL;
  vm.x2apic_cpuid = chosen.x2apicCpuid;
  vm.tsc_deadline_cpuid = chosen.tscDeadlineCpuid;
  vm.x2apic_format = chosen.x2apic32bitIds;
  vm.x2apic_broadcast_quirk_disabled = chosen.x2apicBroadcastQuirkDisabled;
  vm.disabled_quirks.setWord(0, chosen.disabledQuirks);
  vm.vector_hashing = chosen.vectorHashing;
  vm.enable_vmx = chosen.nested;
  vm.apic_bus_cycle_ns = chosen.apicBusCycleNs;
  vm.tsc_khz = chosen.tscKhz;
  vm.bsp_vcpu_id = chosen.bspId;
  vm.maxphyaddr = chosen.maxphyaddr;
  vm.min_timer_period_us = chosen.minTimerPeriodUs;
  vm.enable_preemption_timer = chosen.preemptionTimer;
  vm.pi_inject_timer = chosen.piInjectTimer;
  vm.hlt_in_guest = chosen.hltInGuest;
  vm.enable_mmio_caching = chosen.mmioCaching;
  vm.mwait_in_guest = chosen.mwaitInGuest;
  vm.ioapic.successive_irq_max = chosen.ioapicStormCount;
  for (const pin of vm.ioapic.redirtbl) pin.low = redirection.MASK;
  vm.apic_map_dirty = apicMapDirty.DIRTY;
};

/** Slots are numbered from 0; the last one may be smaller. */
const addGuestMemory = (m: Machine): void => {
  const { memoryPages, slotPages = memoryPages } = m.config;
  for (let gfn = 0, id = 0; gfn < memoryPages; gfn += slotPages, id++) {
    const pages = Math.min(slotPages, memoryPages - gfn);
    addSlot(m, id, gfn, { pages, hva: hvaOfGuestPage(gfn) });
  }
  const pfnmap = vmConfigOf(m.config).guestMemory === 'unmanaged';
  for (let gfn = 0; gfn < memoryPages; gfn++) {
    m.pte[addPte(m, hvaOfGuestPage(gfn))]!.pfnmap = pfnmap;
  }
};

const buildVm = (m: Machine): void => {
  const { vm, config } = m;
  chooseVm(m);
  vm.enable_apicv = config.enableApicv;
  vm.enable_ipiv = config.enableApicv && vmConfigOf(config).ipiv;
  if (!config.enableApicv) vm.apicv_inhibit_reasons.set(apicvInhibitReason.DISABLED);
  else if (idsAlias(config)) vm.apicv_inhibit_reasons.set(apicvInhibitReason.PHYSICAL_ID_ALIASED);
  vm.flexpriority_enabled = true;
  vm.mmu_invalidate_range_start = INVALID_GFN;
  vm.mmu_invalidate_range_end = INVALID_GFN;
  for (const frame of m.frame) frame.has_struct_page = true;
  for (const context of vm.nested_context) {
    context.gpa = INVALID_GPA;
    context.vcpu = -1;
    emptyCaches(context.caches);
  }
  for (let i = 0; i < config.vcpus; i++) alloc_page(m);
  addGuestMemory(m);
  addSlot(m, APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, apicAccessGfn, {
    pages: 1,
    hva: hvaOfApicAccessPage,
  });
  vm.apic_access_memslot_enabled = true;
  const pte = m.pte[addPte(m, hvaOfApicAccessPage)]!;
  pte.pfn = alloc_page(m);
  pte.present = true;
  if (vm.enable_ipiv) vmx_alloc_ipiv_pid_table(m);
};

type Caches = Machine['vcpu'][number]['nested']['caches'];

const emptyCaches = (caches: Caches): void => {
  for (const name of cacheNames) {
    const gpc = caches[name];
    gpc.gpa = INVALID_GPA;
    gpc.pfn = -1;
    gpc.khva_pfn = -1;
    gpc.vcpu = -1;
  }
};

/** Nothing of VMX is in use. @kvm arch/x86/kvm/vmx/vmx.c: __vmx_vcpu_reset */
const resetNested = (m: Machine, index: number): void => {
  const { nested } = m.vcpu[index]!;
  nested.vmxon_ptr = INVALID_GPA;
  nested.current_vmptr = INVALID_GPA;
  nested.hv_evmcs_vmptr = INVALID_GPA;
  nested.enlightened_vmcs_enabled = vmConfigOf(m.config).evmcs;
  nested.posted_intr_nv = -1;
  nested.l1_tpr_threshold = -1;
  nested.context = -1;
  nested.cached_vmcs12.vm_exit_reason = exitReason.NONE;
  emptyCaches(nested.caches);
};

const buildVcpu = (m: Machine, index: number): void => {
  const vcpu = m.vcpu[index]!;
  const { id, mode, lvtCmci, interrupts } = vcpuConfigOf(m.config, index);
  vcpu.vcpu_id = id;
  vcpu.lvt_cmci = lvtCmci;
  vcpu.cpu = index;
  vcpu.srcu_idx = -1;
  vcpu.mp_state = mpState.RUNNABLE;
  setMode(m, index, mode);
  vcpu.root_mmu.root = -1;
  vcpu.guest_mmu.root = -1;
  resetNested(m, index);
  vcpu.highest_stale_pending_ioapic_eoi = -1;
  vcpu.pending_external_vector = -1;
  vcpu.on_wakeup_list = -1;
  vcpu.sched_cpu = -1;
  vcpu.pi_desc.nv = POSTED_INTR_VECTOR;
  vcpu.pi_desc.ndst = index << 8;
  m.cpu[index]!.irqs_on = true;
  resetLapic(m, index);
  if (interrupts) enableInterrupts(m, index);
  resetVmcs(m, index);
  if (m.vm.enable_ipiv) setPidPointer(m, index);
  if (vmConfigOf(m.config).td) tdx_vcpu_create(m, index);
  for (const request of [KVM_REQ.APIC_PAGE_RELOAD, KVM_REQ.APICV_UPDATE]) {
    vcpu.requests.set(request);
    vcpu.spec.request[request]!.published = 1;
  }
};

/** The guest has run: the APIC-access page is in the VMCS, in the EPT and in the TLB. */
const settle = (m: Machine): void => {
  const pfn = m.pte.find((pte) => pte.used && pte.hva === hvaOfApicAccessPage)!.pfn;
  const [root] = m.ept;
  root!.used = true;
  root!.eptp12 = INVALID_GPA;
  root!.refcount = m.vcpu.length;
  // Without APICv KVM maps nothing there: every access is emulated.
  if (kvm_apicv_activated(m)) mapSpte(m, 0, apicAccessGfn, { pfn, l1Gfn: apicAccessGfn });
  for (const vcpu of m.vcpu) {
    vcpu.requests.clearAll();
    for (const request of vcpu.spec.request) request.taken = request.published;
    vcpu.root_mmu.root = 0;
    vcpu.vmcs01.ept_pointer = eptpOf(0);
    vcpu.vmcs01.apic_access_addr = pfn_to_hpa(pfn);
    if (kvm_apicv_activated(m)) tlbFill(m, vcpu.index, apicAccessGfn, pfn);
  }
  settleApicMap(m);
};

const performs = (
  instruction: Instruction | undefined,
): instruction is Extract<Instruction, { operands: readonly number[] }> =>
  instruction !== undefined && 'operands' in instruction;

const runProgram = scenarioActor(function* scenarioProgram(m: Machine, program: Program) {
  const actor = m.actor[m.current]!;
  for (;;) {
    yield m.step('next instruction of the scenario');
    const instruction = skipLoops(m, m.current, program);
    if (!performs(instruction)) return;
    yield* acts[instruction.op]!(m, instruction.operands);
    actor.pc++;
  }
});

/** What the timers of a vCPU do, by `hostTimer`. */
const timerCallbacks = [apic_timer_fn, vmx_preemption_timer_fn];

const mainOf = (m: Machine, actor: ActorConfig): Steps<unknown> => {
  switch (actor.kind) {
    case 'vcpu':
      return vcpu_run(m, actor.index, actor.program, actor.l2 ?? []);
    case 'irq':
      return hostInterrupts(m, actor.index);
    case 'timer':
      return hrtimer_interrupt(m, actor.index, timerCallbacks);
    case 'kworker':
      return process_one_work(m, eoiInjectDue, kvm_ioapic_eoi_inject_work);
    case 'drain':
      return drainStoreBuffer(m, actor.index);
    case 'mm':
    case 'user':
    case 'sched':
    case 'dev':
    case 'iommu':
    case 'clock':
      return runProgram(m, actor.program);
  }
};

/** Builds the machine; actor i must be vCPU i's thread for each vCPU. Position 0 is its result. */
export const boot = (config: MachineConfig): Machine => {
  const m = new Machine(config);
  buildVm(m);
  for (let i = 0; i < config.vcpus; i++) buildVcpu(m, i);
  if (m.vm.enable_ipiv) writePidTable(m);
  if (config.boot === 'settled') settle(m);
  m.notifiers.push(kvm_mmu_notifier_ops);
  m.betweenRuns = betweenRuns;
  m.interruptHandlers.set(hostVector.POSTED_INTR_WAKEUP, pi_wakeup_handler);
  for (const actor of config.actors) m.start(actor.name, mainOf(m, actor));
  m.arena.dropLog();
  return m;
};
