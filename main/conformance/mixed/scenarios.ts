// Which bundled scenario tells a case of several levels, and which cases none can tell.

/** By the id of the case. A scenario may tell several, one after the other. */
export const scenarioOf: Readonly<Record<string, string>> = {
  'scn-00001': 'nested-pending-irq',
  'scn-00004': 'nested-eoi-bitmap',
  'scn-00006': 'nested-apic-passthrough',
  'scn-00009': 'nested-init-latched',
  'scn-00011': 'nested-init-vmxoff',
  'scn-00012': 'nested-sipi',
  'scn-00013': 'nested-sipi-dropped',
  'scn-00016': 'nested-timer-l2-runs',
  'scn-00018': 'nested-timer-l2-halts',
  'scn-00019': 'nested-timer-to-l2',
  'scn-00020': 'nested-timer-l2-enters-halted',
  'scn-00024': 'nested-nmi-l2-halts',
  'scn-00025': 'apic-disabled-page',
  'scn-00029': 'apic-base-moved',
  'scn-00030': 'apic-id-modes',
  'scn-00032': 'apic-broadcast-xapic',
  'scn-00034': 'apic-broadcast-xapic',
  'scn-00036': 'apic-self-ipi-x2apic',
  'scn-00037': 'apic-broadcast-x2apic',
  'scn-00039': 'apic-broadcast-x2apic',
  'scn-00040': 'apic-broadcast-4-vcpus',
  'scn-00042': 'apic-sti-nmi',
  'scn-00046': 'apic-deadline-now',
  'scn-00048': 'apic-timer-to-oneshot',
  'scn-00050': 'apic-timer-mode-switch',
  'scn-00051': 'apic-init-bsp',
  'scn-00052': 'ioapic-edge',
  'scn-00053': 'ioapic-level',
  'scn-00054': 'ioapic-simultaneous',
  'scn-00055': 'ioapic-tmr-edge',
  'scn-00056': 'ioapic-tmr-level',
  'scn-00057': 'ioapic-tmr-level',
  'scn-00058': 'ioapic-tmr-edge',
  'scn-00060': 'ioapic-level-smp',
  'scn-00061': 'ioapic-coalesce',
  'scn-00066': 'ioapic-mask-retrigger',
  'scn-00074': 'apic-tpr-lowered',
  'scn-00075': 'apic-tpr-lowered-x2apic',
  'scn-00079': 'apic-id-32bit',
  'scn-00080': 'apic-id-restored',
  'scn-00084': 'apic-id-restored',
  'scn-00085': 'apic-id-restored',
  'scn-00086': 'apic-id-restored',
  'scn-00088': 'apic-id-restored',
  'scn-00089': 'apic-bsp-bit',
  'scn-00096': 'apic-ipi-while-migrating',
  'scn-00097': 'apic-map-race',
  'scn-00099': 'nested-x2apic-icr',
  'scn-00100': 'nested-apic-access-page',
  'scn-00103': 'nested-mode-switch-mmio',
  'scn-00104': 'nested-mode-switch-eoi',
  'scn-00107': 'apic-cmci',
};

/**
 * Cases about the creation of a VM, with a machine for each of their steps: what KVM answers stands
 * in what the compiler says of it.
 */
export const machinesOf: Readonly<Record<string, readonly string[]>> = {
  'scn-00091': ['bsp 4097', 'bsp 0x100000000'],
  'scn-00094': [
    'max-vcpu-id 4097',
    'max-vcpu-id 2',
    'max-vcpu-id 2 apic-id 2',
    'max-vcpu-id 2 apic-id 0x100000000',
    'max-vcpu-id 2 apic-id 0',
  ],
};

/** How many cases the scenario tells. */
export const casesToldBy = (scenario: string): number =>
  Object.values(scenarioOf).filter((one) => one === scenario).length;
